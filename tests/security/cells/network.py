"""A cell: what answers or is routed to, by address family and by name."""
# ruff: noqa: F821  (the ports are written before it)

import errno
import json
import socket

NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.EADDRNOTAVAIL)


def outcome(family: int, kind: int, address: tuple[str, int]) -> str:
    """A silent address has a route to it, and so counts as allowed."""
    with socket.socket(family, kind) as line:
        line.settimeout(0.5)
        try:
            line.connect(address)
            line.send(b"x")
            if kind == socket.SOCK_DGRAM:
                line.recv(1)
        except TimeoutError:
            return "allowed"
        except OSError as error:
            return "refused" if error.errno in NO_WAY else f"error {error.errno}"
    return "allowed"


def resolves(name: str) -> str:
    try:
        socket.getaddrinfo(name, 80)
    except OSError:
        return "refused"
    return "allowed"


tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
found = {
    "service over tcp": outcome(socket.AF_INET, tcp, ("127.0.0.1", SERVICE_PORT)),
    "service over udp": outcome(socket.AF_INET, udp, ("127.0.0.1", UDP_PORT)),
    "service over ipv6": outcome(socket.AF_INET6, tcp, ("::1", IPV6_PORT)),
    "metadata service": outcome(socket.AF_INET, tcp, ("169.254.169.254", 80)),
    "internet": outcome(socket.AF_INET, tcp, ("192.0.2.1", 443)),
    "name server": outcome(socket.AF_INET, udp, ("192.0.2.53", 53)),
    "names": resolves("control.test"),
}
print(json.dumps(found))
