"""Location and credentials of a Redis, from `[catalog] url`. A password is secret, and so is every
part that may be one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import field, frozen

from pypid.core.errors import CannotStart

PORT = 6379
PREFIX = "pypid"
_ADVICE = (
    "[catalog] url is to be redis://user:password@host:6379/0, rediss:// for TLS, or "
    "unix://user:password@/run/redis.sock?db=0 "
    "(without a user: redis://:password@host); ?prefix=NAME where several catalogs share one "
    "database."
)
_QUOTE = (
    "In a user name and a password every character but letters, digits and -._~ is written as % "
    "and two digits: @ is %40, / is %2F, # is %23."
)
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_KNOWN = frozenset(("db", "prefix"))


@frozen
class Host:
    """A server on a port; `tls`: with a certificate of one of the system's authorities, for that
    name.
    """

    name: str
    port: int = PORT
    tls: bool = False

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@frozen
class UnixServer:
    """A server on this machine."""

    path: str

    def __str__(self) -> str:
        return self.path


@frozen
class RedisPlace:
    """A database of a server. All keys begin with `{prefix}:`, so that they are in one slot of a
    Redis Cluster.
    """

    server: Host | UnixServer
    user: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    prefix: str = PREFIX

    def clean(self, text: str) -> str:
        """Return a text of the server or of a driver in a form fit for the log. (Redis repeats
        words of a command that it does not know.)
        """
        for secret in sorted(
            {self.password, repr(self.password)[1:-1]} - {""}, key=len, reverse=True
        ):
            text = text.replace(secret, "***")
        return text


def place_of(url: str) -> RedisPlace:
    """Return the place that `[catalog] url` names. Raises `CannotStart`, whose message contains no
    part of the URL.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in ("redis", "rediss", "unix") or not rest or re.search(r"[\x00-\x20\x7f]", url):
        raise CannotStart(f"The URL of the shared catalog cannot be used. {_ADVICE}")
    try:
        components = urlsplit(url)
        port = components.port
        words = dict(
            parse_qsl(
                components.query, keep_blank_values=True, strict_parsing=bool(components.query)
            )
        )
    except ValueError:
        raise _unreadable() from None
    # more than one @, or one after the authority: an unquoted password was taken for something else
    if (
        components.fragment
        or "#" in url
        or components.netloc.count("@") > 1
        or "@" in components.path + components.query
        or not words.keys() <= _KNOWN
    ):
        raise _unreadable()
    user, password = unquote(components.username or ""), unquote(components.password or "")
    if user and not password:
        raise CannotStart(f"The URL of the shared catalog has a user and no password. {_ADVICE}")
    prefix = words.get("prefix", PREFIX)
    if not _PREFIX.fullmatch(prefix):
        raise CannotStart(
            "The prefix in the URL of the shared catalog is to be letters, digits, dots, - and _, "
            "64 at most."
        )
    if scheme == "unix":
        return RedisPlace(
            _socket(components.netloc, components.path),
            user,
            password,
            _database(words, ""),
            prefix,
        )
    name = components.hostname or ""
    if not _HOST.fullmatch(name) or port == 0:
        raise _unreadable()
    server = Host(name, PORT if port is None else port, scheme == "rediss")
    return RedisPlace(server, user, password, _database(words, components.path.strip("/")), prefix)


def _socket(authority: str, path: str) -> UnixServer:
    if authority.rpartition("@")[2] or not path.strip("/") or path.endswith("/"):
        raise CannotStart(
            f"The URL of the shared catalog names no socket: an absolute path is to follow "
            f"unix://. {_ADVICE}"
        )
    return UnixServer(unquote(path))


def _database(words: Mapping[str, str], path: str) -> int:
    text = words.get("db", path) or "0"
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or (path and "db" in words):
        raise _unreadable()
    return int(text)


def _unreadable() -> CannotStart:
    return CannotStart(f"The URL of the shared catalog cannot be read. {_QUOTE} {_ADVICE}")
