"""Where a database lies: a file of SQLite, or a PostgreSQL server. What is in a URL is a secret."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import field, frozen

from pypid.core.errors import CannotStart

_SERVERS = ("postgresql", "postgres", "postgresql+psycopg")


@frozen
class SqliteFile:
    """A file on a disk of this machine: what several processes share cannot lie on a network's file
    system.

    One that is `of_record` is written durably, and who keeps accounts in it makes no other one in
    its place if it goes away.
    """

    path: Path
    of_record: bool = True

    def is_there(self) -> bool:
        """Whether there is something to open. Blocks for a moment (one ``stat``)."""
        return self.path.exists()

    def clean(self, text: str) -> str:
        """A text of the driver, fit for the log."""
        return text


@frozen
class Server:
    """A PostgreSQL, which several pypids may share. `url` is as SQLAlchemy wants it, and in no
    repr.
    """

    url: str = field(repr=False)

    def is_there(self) -> bool:
        """Always: whether it answers is another question."""
        return True

    def clean(self, text: str) -> str:
        """A text of the driver, fit for the log: without the password, in whatever way it was
        quoted.
        """
        parts = urlsplit(self.url)
        password = parts.password or ""
        found = {
            self.url,
            password,
            unquote(password),
            *parse_qs(parts.query).get("password", ()),
        } - {""}
        for secret in sorted(found, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


Place = SqliteFile | Server


@frozen
class Named:
    """What a URL in the configuration is of: ``the accounts database``; and what it may be, for
    whoever wrote another.
    """

    what: str
    advice: str

    def place(self, url: str, folder: Path | None = None) -> Place:
        """The place that a URL names. A file is relative to `folder`; without one only an absolute
        path will do.

        Raises `CannotStart`, without a word of the URL in it.
        """
        scheme, _, rest = url.partition(":")
        if (
            scheme == "sqlite"
            and re.match(r"///[^?#]*[^?#/]$", rest)
            and (folder is not None or rest.startswith("////"))
        ):
            return SqliteFile((folder or Path("/")) / unquote(rest[3:]))
        if scheme not in _SERVERS or not rest.startswith("//"):
            raise CannotStart(f"The URL of {self.what} cannot be used. {self.advice}")
        if not _is_sound(rest):
            raise CannotStart(
                f"The URL of {self.what} cannot be read. In a user name and a password every "
                f"character but letters, "
                f"digits and -._~ is written as % and two digits: @ is %40, / is %2F, # is %23. "
                f"{self.advice}"
            )
        return Server(f"postgresql+psycopg:{rest}")


def _is_sound(rest: str) -> bool:
    """Whether this can follow the scheme. A password that is not quoted would be taken for a host
    or a port, and told.
    """
    authority = re.split(r"[/?#]", rest[2:], maxsplit=1)[0]
    try:
        parts = urlsplit(f"postgresql:{rest}")
        sound = bool(parts.path.strip("/")) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return sound and authority.count("@") <= 1 and "@" not in parts.path and not parts.fragment
