"""Where a database lies: a file of sqlite, or a server. What is in a URL is a secret."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import field, frozen

from pypid.core.errors import CannotStart

_SERVERS = ("postgresql", "postgres", "postgresql+psycopg")
_ADVICE = (
    "[access] url is to be empty (sqlite below [server] state), sqlite:////folder/accounts.db, or "
    "postgresql://user:password@host/database."
)


@frozen
class SqliteFile:
    """A file of sqlite, for one pypid.

    One that is `of_record` is written durably, and if it goes away while it is in use nobody makes another one in its place.
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
    """A database that several pypids share. `url` is as SQLAlchemy wants it, and in no repr."""

    url: str = field(repr=False)

    def is_there(self) -> bool:
        """Always: whether it answers is another question."""
        return True

    def clean(self, text: str) -> str:
        """A text of the driver, fit for the log: without the password, in whatever way it was quoted."""
        parts = urlsplit(self.url)
        password = parts.password or ""
        found = {self.url, password, unquote(password), *parse_qs(parts.query).get("password", ())} - {""}
        for secret in sorted(found, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


Place = SqliteFile | Server


def place_of(url: str, file: Path, *, of_record: bool = True) -> Place:
    """The place that `[access] url` names, else `file`. Raises `CannotStart`, without a word of the URL in it."""
    scheme, _, rest = url.partition(":")
    if not url:
        return SqliteFile(file, of_record)
    if scheme == "sqlite" and rest.startswith("////") and not re.search(r"[?#]", rest):
        return SqliteFile(Path(unquote(rest[3:])), of_record)
    if scheme not in _SERVERS or not rest.startswith("//"):
        raise CannotStart(f"The URL of the accounts database cannot be used. {_ADVICE}")
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
            "The URL of the accounts database cannot be read. In a user name and a password every character but letters, "
            f"digits and -._~ is written as % and two digits: @ is %40, / is %2F, # is %23. {_ADVICE}"
        )
    return rest
