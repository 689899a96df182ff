"""A cell: every way to change where the service's line to the agent leads."""

import json
import os
import socket
from collections.abc import Callable

ROOM = "/run/agent"
DOOR = f"{ROOM}/agent.sock"


def outcome(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError:
        return "refused"
    return "allowed"


def bind_beside() -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(f"{ROOM}/other.sock")


found = {
    "list": outcome(lambda: os.listdir(ROOM)),
    "create": outcome(lambda: open(f"{ROOM}/file", "w").close()),
    "mkdir": outcome(lambda: os.mkdir(f"{ROOM}/folder")),
    "bind": outcome(bind_beside),
    "symlink": outcome(lambda: os.symlink("/etc/passwd", f"{ROOM}/link")),
    "link": outcome(lambda: os.link(DOOR, f"{ROOM}/hard")),
    "rename over": outcome(lambda: os.rename(DOOR, f"{ROOM}/moved")),
    "unlink": outcome(
        lambda: os.unlink(f"{ROOM}/moved" if os.path.lexists(f"{ROOM}/moved") else DOOR)
    ),
    "chmod room": outcome(lambda: os.chmod(ROOM, 0o777)),
    "rename room": outcome(lambda: os.rename(ROOM, "/run/elsewhere")),
}
print(json.dumps(found))
