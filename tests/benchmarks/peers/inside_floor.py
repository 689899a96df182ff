"""Runs inside the image: `jupyter_client` over ipc to a bare ipykernel, timed.

Each line on standard input is a number of cells; each line out is the JSON list of their milliseconds.
A cell is over when its reply and its idle status have both come.
"""

import json
import sys
import time

from jupyter_client.manager import KernelManager


def timed_print(client):
    started = time.perf_counter()
    msg_id = client.execute("print(1)", store_history=True, allow_stdin=False)
    text = ""
    while True:
        message = client.get_iopub_msg(timeout=30)
        if message["parent_header"].get("msg_id") != msg_id:
            continue
        if message["msg_type"] == "stream":
            text += message["content"]["text"]
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
    reply = client.get_shell_msg(timeout=30)
    elapsed_ms = (time.perf_counter() - started) * 1000
    assert reply["content"]["status"] == "ok", reply
    assert text == "1\n", text
    return elapsed_ms


def main():
    manager = KernelManager(transport="ipc", ip="/tmp/floor")
    manager.start_kernel(extra_arguments=["--HistoryManager.enabled=False"])
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    for _ in range(20):
        timed_print(client)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps([timed_print(client) for _ in range(int(line))]), flush=True)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


main()
