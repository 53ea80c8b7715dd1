"""Transactions, and a time limit for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.interfaces import IReactorTime

from pypid.databases.places import Place, Server

if TYPE_CHECKING:
    from sqlalchemy import Connection

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
