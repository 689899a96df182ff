"""Two sessions on one machine: neither sees the other, and what one uses up the other still has."""

import time

import docker

from tests.security.conftest import Prisoner, opened

LOWEST_UID = 1_000_000
SEARCH = """
import glob, json, os
found = {'files': [], 'processes': [], 'uids': []}
for path in glob.glob('/proc/[0-9]*/cmdline'):
    try:
        if MARK.encode() in open(path, 'rb').read(): found['processes'].append(path)
        found['uids'].append(os.stat(path).st_uid)
    except OSError: pass
for root in ('/mnt', '/tmp', '/home', '/run', '/var', '/dev/shm'):
    for folder, _, names in os.walk(root):
        found['files'] += [os.path.join(folder, name) for name in names if MARK in name]
found['uids'] = sorted(set(found['uids']))
print(json.dumps(found))
"""
LEAVE_A_MARK = """
import os, subprocess
for place in ('/mnt/data', '/tmp', '/home/sandbox', '/dev/shm'):
    open(f'{place}/{MARK}', 'w').close()
marked = subprocess.Popen(['/bin/sh', '-c', f'sleep 60; echo {MARK}'])
"""
MARK = "MARK = 'mark-of-the-neighbour'\n"


async def test_a_neighbours_files_and_processes_are_not_seen(
    inside: Prisoner, neighbour: Prisoner
) -> None:
    """The mark is found by who left it, and by nobody else."""
    await neighbour.says(MARK + LEAVE_A_MARK)
    own = await neighbour.asks(MARK + SEARCH)
    others = await inside.asks(MARK + SEARCH)
    assert (len(own["files"]), len(own["processes"])) == (4, 1)
    assert (others["files"], others["processes"]) == ([], [])


async def test_live_sessions_never_share_a_user_id(inside: Prisoner, neighbour: Prisoner) -> None:
    """High ids, each its own, and every process inside has it."""
    uids = [
        int(await session.says("import os; print(os.getuid())")) for session in (inside, neighbour)
    ]
    assert uids[0] != uids[1]
    assert min(uids) >= LOWEST_UID
    assert (await inside.asks(MARK + SEARCH))["uids"] == [uids[0]]


async def test_processes_used_up_in_one_are_there_in_the_other(
    runtime: str, warden, neighbour: Prisoner
) -> None:
    """The limit of one sandbox is its own."""
    async with opened(warden, runtime, pids=64) as hungry:
        assert int(await hungry.says(FORK)) < 64
        assert await neighbour.says(SPAWN) == "here\n"
        assert (
            await hungry.says("[c.kill() for c in kids]; [c.wait() for c in kids]; print(1)")
            == "1\n"
        )


FORK = """
import subprocess
kids = []
try:
    while len(kids) < 200: kids.append(subprocess.Popen(['/bin/sleep', '60']))
except OSError: pass
print(len(kids))
"""
SPAWN = "import subprocess; print(subprocess.run(['/bin/echo', 'here'], capture_output=True, text=True).stdout, end='')"
INOTIFY = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
held = []
while len(held) < LIMIT and (fd := libc.inotify_init1(0)) >= 0: held.append(fd)
print(len(held))
"""


async def test_inotify_used_up_in_one_is_there_in_the_other(
    inside: Prisoner, neighbour: Prisoner
) -> None:
    """The kernel counts these per user, which is why no two sandboxes share one."""
    taken = int(await inside.says("LIMIT = 5000\n" + INOTIFY))
    left = int(await neighbour.says("LIMIT = 10\n" + INOTIFY))
    await inside.says("[os.close(fd) for fd in held]")
    await neighbour.says("[os.close(fd) for fd in held]")
    assert left == 10
    assert taken >= 10


def test_two_containers_of_one_user_do_share_what_the_kernel_counts_per_user(
    engine: docker.DockerClient,
) -> None:
    """The positive control: with the same user id the second finds nothing left."""
    from tests.conftest import IMAGE

    def start(limit: int) -> str:
        code = f"LIMIT = {limit}\n{INOTIFY}\nimport sys, time; sys.stdout.flush(); time.sleep(60)"
        host = {"NetworkMode": "none", "LogConfig": {"Type": "json-file"}}
        body = {
            "Image": IMAGE,
            "User": "1999999999",
            "Entrypoint": ["/opt/kernel/bin/python", "-c", code],
            "HostConfig": {**host, "Ulimits": [{"Name": "nofile", "Soft": 9000, "Hard": 9000}]},
        }
        created: str = engine.api.create_container_from_config(body)["Id"]
        made.append(created)
        engine.api.start(created)
        while not (printed := engine.api.logs(created).decode().strip()):
            time.sleep(0.05)
        return str(printed)

    made: list[str] = []
    try:
        taken, left = int(start(8000)), int(start(10))
    finally:
        for container in made:
            engine.api.remove_container(container, force=True)
    assert left < 10 <= taken
