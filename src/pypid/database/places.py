"""Where databases are (a file of SQLite, or a PostgreSQL server), what can go wrong with them, and
their transactions. The parts of a URL are secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime

from pypid.core.errors import CannotStart

if TYPE_CHECKING:
    from sqlalchemy import Connection


_SERVERS = ("postgresql", "postgres", "postgresql+psycopg")


@frozen
class SqliteFile:
    """A SQLite database file on a local disk; a file that several processes share cannot be on a
    network file system.

    One that is `of_record` is written durably, and the account code does not create another one in
    its place if it disappears.
    """

    path: Path
    of_record: bool = True

    def is_there(self) -> bool:
        """Return whether the file exists. Blocks briefly (one ``stat``)."""
        return self.path.exists()

    def clean(self, text: str) -> str:
        """Return a text of the driver in a form fit for the log."""
        return text


@frozen
class Server:
    """A PostgreSQL server, which several pypids may share. `url` has SQLAlchemy's format, and is
    left out of the repr.
    """

    url: str = field(repr=False)

    def is_there(self) -> bool:
        """Return True: only a connection shows whether the server answers."""
        return True

    def clean(self, text: str) -> str:
        """Return a text of the driver in a form fit for the log: without the password, however it
        is quoted.
        """
        address = urlsplit(self.url)
        password = address.password or ""
        found = {
            self.url,
            password,
            unquote(password),
            *parse_qs(address.query).get("password", ()),
        } - {""}
        for secret in sorted(found, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


Place = SqliteFile | Server


SETTING = "[database] url"
_ADVICE = f"{SETTING} is to be empty (SQLite), or postgresql://user:password@host/database."


def place_of(url: str | None, file: Path) -> Place:
    """Return the server that `[database] url` names; without a URL, the SQLite `file`.

    Raises `CannotStart`, whose message contains no part of the URL.
    """
    if not url:
        return SqliteFile(file)
    scheme, _, rest = url.partition(":")
    if scheme not in _SERVERS or not rest.startswith("//"):
        raise CannotStart(f"The URL of the database cannot be used. {_ADVICE}")
    if not _is_sound(rest):
        raise CannotStart(
            "The URL of the database cannot be read. In a user name and a password every "
            "character but letters, digits and -._~ is written as % and two digits: @ is %40, "
            f"/ is %2F, # is %23. {_ADVICE}"
        )
    return Server(f"postgresql+psycopg:{rest}")


def _is_sound(rest: str) -> bool:
    """Return whether this can follow the scheme. An unquoted password would be taken for a host or
    a port, and shown.
    """
    authority = re.split(r"[/?#]", rest[2:], maxsplit=1)[0]
    try:
        address = urlsplit(f"postgresql:{rest}")
        sound = bool(address.path.strip("/")) and (address.port is None or address.port > 0)
    except ValueError:
        return False
    return sound and authority.count("@") <= 1 and "@" not in address.path and not address.fragment


# Errors of databases.


class DatabaseAway(Exception):
    """The database is unavailable now. A change that was in progress may be stored or not.

    The text is for the log: without a secret, perhaps with a path.
    """


class DatabaseFull(DatabaseAway):
    """The disk of the database is full, and nothing has changed."""


class DatabaseUnusable(Exception):
    """The database is reachable, but unusable until an administrator repairs something; the text
    is for the log.
    """


# Transactions, and a time limit for them.

T = TypeVar("T")


def transact(connection: Connection, work: Callable[[Connection], T], writing: bool) -> T:
    """Return the result of `work`, run in one transaction: it sees one consistent state, or is one
    atomic change. Blocks.
    """
    options: dict[str, Any] = {"writing": writing}
    if (
        connection.dialect.name == "postgresql"
    ):  # a writer waits for its turn, and has to see the changes before it
        options["isolation_level"] = "READ COMMITTED" if writing else "REPEATABLE READ"
    connection = connection.execution_options(**options)
    with connection.begin():
        return work(connection)


@contextmanager
def no_longer_than(
    seconds: float, place: Place, clock: IReactorTime, cut: Callable[[], None]
) -> Iterator[None]:
    """Call `cut` if the body takes longer than `seconds` and the place is a server. (A file always
    answers.)
    """
    late = clock.callLater(seconds, cut) if isinstance(place, Server) else None
    try:
        yield
    finally:
        if late is not None and late.active():
            late.cancel()
