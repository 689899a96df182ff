"""Loopback ports for servers that tests start: no two processes of tests on a machine get the same."""

import socket

_claims: list[socket.socket] = []


def free_port() -> int:
    """A port that is free now, and that nobody else gets from here while this process lives."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if _is_claimed(port):
            return port


def _is_claimed(port: int) -> bool:
    """Claim it for this process by a socket of that name, which the kernel gives once and takes back at the end."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0sandbox-test-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True
