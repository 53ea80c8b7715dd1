"""Values of `[server] listen`: Twisted endpoint strings, and the short forms ``host:port``,
``:port`` and ``port``, which are translated to endpoint strings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from ipaddress import IPv6Address, ip_address

_SHORT = re.compile(r"(?:(?P<host>\[[^\]]*\]|[^:\[\]]*):)?(?P<port>[0-9]+)")
_EVERY_ADDRESS = ("", "*")
_LARGEST_PORT = 65535
_NAMED = re.compile(r"(?P<name>(?:[^=\\]|\\.)*)=(?P<value>.*)", re.DOTALL)

ENDPOINTS: Mapping[str, tuple[str, ...]] = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": (
        "port",
        "privateKey",
        "certKey",
        "sslmethod",
        "interface",
        "backlog",
        "extraCertChain",
        "dhParameters",
    ),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}
"""The kinds of endpoints with their arguments, in the order of Twisted's parsers."""


def parse_endpoint(text: str) -> str:
    """Return the endpoint string that a value of `[server] listen` stands for.

    Raises `ValueError` with advice for text that Twisted would refuse.
    """
    kind, _, rest = text.partition(":")
    short = _SHORT.fullmatch(text)
    if short and kind not in ENDPOINTS:
        port = _port(short["port"])
        return _interface(short["host"] or "").format(port=port)
    if kind not in ENDPOINTS or not rest:
        raise ValueError(_unknown(text))
    for name, value in _arguments(kind, rest).items():
        if check := _CHECKS.get(name):
            check(value)
    return text


def endpoint_arguments(text: str) -> tuple[str, Mapping[str, str]]:
    """Return the kind and the arguments of an endpoint string that `parse_endpoint` returned."""
    kind, _, rest = text.partition(":")
    return kind, _arguments(kind, rest)


def _interface(host: str) -> str:
    """Return the endpoint string for a host, with a gap for the port. Raises `ValueError`."""
    if host in _EVERY_ADDRESS:
        return "tcp:{port}"
    if host == "localhost":
        return "tcp:{port}:interface=127.0.0.1"
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(
            f"{host[:80]!r} is no IP address; write one of this machine, like 0.0.0.0:8080 (all "
            "addresses) or 127.0.0.1:8080"
        ) from None
    if isinstance(address, IPv6Address):
        escaped = str(address).replace(":", "\\:")
        return f"tcp6:{{port}}:interface={escaped}"
    return f"tcp:{{port}}:interface={address}"


def _unknown(text: str) -> str:
    """Return advice for text of an unknown form."""
    host, _, port = text.rpartition(":")
    if port.isdecimal() and host.count(":") > 1:
        return f"write an IPv6 address in brackets, like [{host[:80]}]:{port[:8]}"
    return (
        f"{text[:80]!r} has none of these forms; endpoint strings begin with "
        f"{', '.join(f'{kind}:' for kind in ENDPOINTS)}"
    )


def _arguments(kind: str, text: str) -> dict[str, str]:
    """Return the arguments of an endpoint string by name, as Twisted reads them. Raises
    `ValueError`.
    """
    known = ENDPOINTS[kind]
    found: dict[str, str] = {}
    unnamed = iter(known)
    for token in re.split(r"(?<!\\):", text):
        match = _NAMED.fullmatch(token)
        name = match["name"] if match else next(unnamed, "")
        if name not in known:
            close = get_close_matches(name, known, 1)
            advice = f"did you mean {close[0]}=?" if close else f"known: {', '.join(known)}"
            shown = f"{name}=" if name else token[:80]
            raise ValueError(f"{kind}: has no argument {shown!r}; {advice}")
        if name in found:
            raise ValueError(f"it sets {name} twice")
        found[name] = re.sub(r"\\(.)", r"\1", match["value"] if match else token)
    if not found.get(known[0]):
        raise ValueError(f"{kind}: needs a {known[0]}")
    if kind == "systemd" and ("index" in found) == ("name" in found):
        raise ValueError("systemd: needs either index= or name=, like systemd:domain=INET:index=0")
    return found


def _port(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text[:8]) > _LARGEST_PORT:
        raise ValueError(
            f"{text[:80]!r} is no port; write a number from 1 to {_LARGEST_PORT}, like 8080"
        )
    return int(text)


def _whole_number(text: str) -> int:
    if not (text.isdecimal() and text.isascii()):
        raise ValueError(f"{text[:80]!r} is no whole number")
    return int(text)


def _mode(text: str) -> None:
    if not re.fullmatch("[0-7]{1,4}", text):
        raise ValueError(f"{text[:80]!r} is no mode of a file; write an octal number, like 660")


def _domain(text: str) -> None:
    if text not in ("INET", "INET6", "UNIX"):
        raise ValueError(f"{text[:80]!r} is no domain; write INET, INET6 or UNIX")


_CHECKS: Mapping[str, Callable[[str], object]] = {
    "port": _port,
    "backlog": _whole_number,
    "index": _whole_number,
    "lockfile": _whole_number,
    "mode": _mode,
    "domain": _domain,
}
