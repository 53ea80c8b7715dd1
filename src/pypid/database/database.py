"""A database that is opened when it is first needed, queried in threads of its own, and opened
again after it was unavailable.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pypid.core.errors import StorageFull
from pypid.database.places import (
    DatabaseAway,
    Place,
    SqliteFile,
    no_longer_than,
    transact,
)
from pypid.flow import Blocking, shielded
from pypid.flow.coroutines import import_late
from pypid.flow.spool import Reserve

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from pypid.database.account_tables import SchemaPart


T = TypeVar("T")

LONGEST = 8.0
"""Seconds after which the connections of a server that does not answer are cut."""


class Database:
    """One place, for the parts that are stored there (``accounts``, ``journal``, ``downloads``);
    they share its connections.

    `blocking` is a `Threads`. Cheap to create: nothing is imported or opened before it is used.
    """

    _log = Logger()

    def __init__(
        self,
        place: Place,
        blocking: Blocking,
        clock: IReactorTime,
        reserve: Reserve | None = None,
    ) -> None:
        """`reserve`: space that is freed on a full disk."""
        self.place = place
        self._reserve = reserve
        self._is_read_only = self._is_logged = False
        self._blocking = blocking
        self._clock = clock
        self._opening = Lock()
        self._engine: Engine | None = None
        self._cut: Callable[[], None] = lambda: None
        self._identity: tuple[int, int] | None = None
        """Device and inode of the file that is open."""
        self._ready: set[str] = set()

    def is_there(self) -> bool:
        """Return whether the file exists; for a server always True."""
        return self._identity is not None or self.place.is_there()

    @property
    def is_open(self) -> bool:
        """Whether it has been opened, so that all modules are imported."""
        return self._engine is not None

    async def read(self, part: str, work: Callable[[Connection], T]) -> T:
        """Return the result of `work`, which sees one state of the part's tables. Raises
        `DatabaseAway`, `DatabaseUnusable`, and what `work` raises.
        """
        return await self._run(part, work, False)

    async def write(self, part: str, work: Callable[[Connection], T]) -> T:
        """Return the result of `work`, which changes the part's tables: all of it is durable, or
        nothing is changed and the error is raised.

        Goes on if the caller is cancelled. Raises as `read`, and `StorageFull`. After
        `DatabaseAway` the change may be stored all the same, if only the last answer was lost.
        """
        return await shielded(self._run(part, work, True))

    async def close(self) -> None:
        """Close the connections, when there are no more callers. Later calls open it again."""
        await self._blocking(self._dispose)

    async def _run(self, part: str, work: Callable[[Connection], T], writing: bool) -> T:
        with no_longer_than(LONGEST, self.place, self._clock, lambda: self._cut()):
            return await self._blocking(self._perform, part, work, writing)

    # --- in a thread ---

    def _perform(self, name: str, work: Callable[[Connection], T], writing: bool) -> T:
        while True:
            try:
                return self._performed(name, work, writing)
            except StorageFull:
                if not self.make_room():
                    raise
            except OSError as error:  # of an import: no more files can be opened
                raise DatabaseAway(f"{type(error).__name__}: {error.strerror}") from None

    def make_room(self) -> bool:
        """Return whether the reserve freed some space."""
        return self._reserve is not None and self._reserve.release()

    def note_read_only(self) -> None:
        """Note that the disk is full: the connection is used once, so that the next attempt may
        write again.
        """
        if not self._is_logged:
            self._log.warn(
                "the disk is full, the database is read-only until there is room: {place}",
                place=self.place,
            )
        self._is_read_only = self._is_logged = True

    def _performed(self, name: str, work: Callable[[Connection], T], writing: bool) -> T:
        # SQLAlchemy's import takes 0.1 s, and twice as long with garbage collections
        import_late("pypid.database.account_tables")
        from pypid.database.account_tables import SCHEMA_PARTS, fault
        from pypid.database.connections import errors

        try:
            with self._open(SCHEMA_PARTS[name]).connect() as connection:
                done = transact(connection, work, writing)
            self._still_there()
            self._is_logged = self._is_read_only
        except errors() as error:
            found = fault(self.place, error)
            raise StorageFull("state folder") if writing and self._is_read_only else found from None
        finally:
            if self._is_read_only:
                with self._opening:
                    self._dispose()
        return done

    def _open(self, part: SchemaPart) -> Engine:
        from pypid.database.account_tables import is_ready, open_engine, prepare

        with self._opening:
            if isinstance(self.place, SqliteFile):
                self._open_file(self.place)
            if self._engine is None:
                self._is_read_only = False
                self._engine, self._cut = open_engine(self.place, self)
            if part.name not in self._ready:
                with self._engine.connect() as connection:
                    ready = transact(connection, partial(is_ready, part=part), False)
                    if not ready:
                        transact(connection, partial(prepare, part=part), True)
                self._ready.add(part.name)
            return self._engine

    def _open_file(self, place: SqliteFile) -> None:
        """Create the file if that is allowed. Raises `DatabaseAway` if it has been replaced."""
        from pypid.database.connections import make_file

        if self._identity is None or not place.of_record:
            make_file(place.path)
        identity = _identity(place)
        before, self._identity = self._identity, identity
        if before not in (None, identity):
            self._dispose()
            raise DatabaseAway(f"{place.path} has become another file: it is read again.")

    def _still_there(self) -> None:
        """Raise `DatabaseAway` if what was just written is in a file that was replaced or
        removed.
        """
        if isinstance(self.place, SqliteFile) and _identity(self.place) != self._identity:
            raise DatabaseAway(f"{self.place.path} was replaced")

    def _dispose(self) -> None:
        engine, self._engine = self._engine, None
        self._ready.clear()
        if engine is not None:
            engine.dispose()


def _identity(place: SqliteFile) -> tuple[int, int]:
    try:
        found = place.path.stat()
    except FileNotFoundError:
        raise DatabaseAway(
            f"{place.path} is gone. Put it back: until then its users cannot log in, and its "
            f"accounts cannot be changed."
        ) from None
    return found.st_dev, found.st_ino
