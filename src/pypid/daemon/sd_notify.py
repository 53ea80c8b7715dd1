"""systemd's notification protocol, as far as a daemon needs it.

One datagram of ``NAME=value`` lines to the socket named by ``$NOTIFY_SOCKET`` (``sd_notify(3)``).
This is all that libsystemd would do, so its binding is not required.
"""

import socket
from collections.abc import Mapping, MutableMapping
from typing import Final

__all__ = [
    "READY",
    "STOPPING",
    "WATCHDOG",
    "name_sockets",
    "notify",
    "reloading",
    "status",
    "watchdog",
]

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
WATCHDOG: Final = "WATCHDOG=1"
"""The sign of life, sent more often than `watchdog` says."""


def status(text: str) -> str:
    """Return one line for ``systemctl status``. Line ends become spaces: a second line would be a
    second assignment.
    """
    return "STATUS=" + " ".join(text.split())


def reloading(monotonic: float) -> str:
    """Return the message that a reload begins, at `monotonic` seconds on CLOCK_MONOTONIC; send
    `READY` when it is over.

    ``Type=notify-reload`` (systemd 253) needs the time to know which reload is meant; older ones
    ignore it.
    """
    return f"RELOADING=1\nMONOTONIC_USEC={int(monotonic * 1_000_000)}"


def watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds after which the manager takes the process `pid` for dead, unless it sends
    `WATCHDOG`.

    As `sd_watchdog_enabled(3)`: None without a watchdog, since the unit has no ``WatchdogSec=`` or
    another process is meant.
    """
    microseconds, meant = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
    if not microseconds.isdecimal() or meant != str(pid):
        return None
    return int(microseconds) / 1_000_000 or None


def notify(environ: Mapping[str, str], text: str) -> bool:
    """Send `text`; return True when it was delivered, False without a manager or when it cannot be
    reached.

    Never raises for the system's state and never waits: a daemon started by hand, or with a busy
    manager, goes on. A leading ``@`` is an abstract socket (Linux). The environment is left as it
    is.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        ) as channel:
            return channel.sendto(text.encode(), address) > 0
    except (OSError, ValueError):  # ValueError: a NUL within a path
        return False


def name_sockets(environ: MutableMapping[str, str]) -> None:
    """Give inherited sockets the name "unknown" where the manager named none, as
    `sd_listen_fds_with_names(3)` does.

    Twisted ignores sockets without names, and ``systemd-socket-activate`` gives none unless asked
    to. Twisted looks when `twisted.internet.endpoints` is imported, so call this before that.
    """
    count = environ.get("LISTEN_FDS", "")
    if count.isdecimal():
        environ.setdefault("LISTEN_FDNAMES", ":".join(["unknown"] * int(count)))
