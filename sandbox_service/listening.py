"""The socket that the service listens on: one per service, also when several processes accept from it."""

import resource
import socket

from sandbox_service.settings import Settings, SettingsError

BACKLOG = 2048


def listen(settings: Settings) -> socket.socket:
    """A listening socket at the settings' address. Raises SettingsError when that cannot be had.

    A connection whose peer takes nothing for `stall_timeout_s`, with bytes waiting for it, is ended by
    the kernel: no reader who stands still holds a descriptor for ever.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        patience_ms = int(2 * settings.stall_timeout_s * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience_ms)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingsError(f"cannot listen on {settings.host}:{settings.port}: {error}") from error
    listener.listen(BACKLOG)
    listener.set_inheritable(True)
    return listener


def take_all_descriptors() -> None:
    """Raise this process's limit on open files to what it may be at most."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
