"""The agent's side of the line to the zygote, with packets in whatever order they come."""

import asyncio
import json
import socket
from typing import Any

import pytest

from tests.contract.agent.agent_process import AGENT


@pytest.mark.parametrize(
    "packets",
    [
        [{"forked": 1, "pid": 7}, {"serving": 1, "pid": 7}],
        [{"serving": 1, "pid": 7}, {"forked": 1, "pid": 7}],
        [{"serving": 1, "pid": 7}],
    ],
    ids=["in order", "overtaken", "overtaken by far"],
)
async def test_a_kernel_that_serves_lives(
    packets: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes send on the line: the kernel's word may be there before the zygote's."""
    monkeypatch.syspath_prepend(str(AGENT.parent))
    from agent.spawn import ZygoteProcess  # type: ignore[import-not-found]
    from agent.zygote_line import ZygoteLine  # type: ignore[import-not-found]

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with ours, theirs:
        line = ZygoteLine(None, ZygoteProcess(1, ours), lambda *_: None)
        forking = asyncio.create_task(line.fork("/nowhere"))
        for packet in [{"ready": True}, *packets]:
            theirs.send(json.dumps(packet).encode())
        async with asyncio.timeout(30):
            pid = await forking
        assert (pid, line.lives(pid)) == (7, True)
        asyncio.get_running_loop().remove_reader(ours)
