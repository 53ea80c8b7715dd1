"""Where a shared catalog lies: a file of SQLite, or a PostgreSQL server. What is in a URL is a secret."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import field, frozen

from pypid.core.errors import CannotStart

_SERVERS = ("postgresql", "postgres", "postgresql+psycopg")
FILE = "catalog.db"
_ADVICE = (
    "[cache] url is to be empty (sqlite below [server] state), sqlite:///catalog.db (the same), sqlite:////folder/catalog.db "
    "(a file on a disk of this machine), or postgresql://user:password@host/database."
)


@frozen
class SqliteFile:
    """A file on a disk of this machine: what several processes have to share cannot lie on a network's file system."""

    path: Path

    def clean(self, text: str) -> str:
        """A text of the driver, fit for the log."""
        return text


@frozen
class Server:
    """A PostgreSQL. `url` is as SQLAlchemy wants it, and in no repr."""

    url: str = field(repr=False)

    def clean(self, text: str) -> str:
        """A text of the driver, fit for the log: without the password, in whatever way it was quoted."""
        parts = urlsplit(self.url)
        password = parts.password or ""
        found = {self.url, password, unquote(password), *parse_qs(parts.query).get("password", ())} - {""}
        for secret in sorted(found, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


Place = SqliteFile | Server


def place_of(url: str, folder: Path) -> Place:
    """The place that `[cache] url` names: `catalog.db` where it is empty; `folder` is what a file is relative to.

    Raises `CannotStart`, without a word of the URL in it.
    """
    scheme, _, rest = url.partition(":")
    if not url:
        return SqliteFile(folder / FILE)
    if scheme == "sqlite" and re.match(r"///[^?#]*[^?#/]$", rest):
        return SqliteFile(folder / unquote(rest[3:]))
    if scheme not in _SERVERS or not rest.startswith("//"):
        raise CannotStart(f"The URL of the shared catalog cannot be used. {_ADVICE}")
    return Server(f"postgresql+psycopg:{_sound(rest)}")


def _sound(rest: str) -> str:
    """What follows the scheme. A password that is not quoted would be taken for a host or a port, and told in an error."""
    authority = re.split(r"[/?#]", rest[2:], maxsplit=1)[0]
    try:
        parts = urlsplit(f"postgresql:{rest}")
        sound = bool(parts.path.strip("/")) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound or authority.count("@") > 1 or "@" in parts.path or parts.fragment:
        raise CannotStart(
            "The URL of the shared catalog cannot be read. In a user name and a password every character but letters, "
            f"digits and -._~ is written as % and two digits: @ is %40, / is %2F, # is %23. {_ADVICE}"
        )
    return rest
