"""A file of SQLite that others have open, too."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from attrs import frozen
from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError, OperationalError
from twisted.trial.unittest import SynchronousTestCase

from pypid.database.connections import DatabaseErrorKind, error_kind, make_file, sqlite_engine
from pypid.database.places import transact

OTHER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("INSERT INTO said VALUES ('other')")
connection.commit()
connection.close()
"""


@frozen
class Replacing(Mapping[str, str]):
    """Pragmas, none; something happens when they are asked for."""

    happens: Callable[[], object]

    def __iter__(self) -> Iterator[str]:
        self.happens()
        return iter(())

    def __len__(self) -> int:
        return 0

    def __getitem__(self, name: str) -> str:
        raise KeyError(name)


class OpenTests(SynchronousTestCase):
    """`sqlite_engine`."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        make_file(self.path)

    def engine(self, pragmas: Mapping[str, str | int] | None = None) -> Engine:
        """One on the file, until the end of the test."""
        made = sqlite_engine(self.path, 0.1, {} if pragmas is None else pragmas)
        self.addCleanup(made.dispose)
        return made

    def test_keeps_its_locks(self) -> None:
        """Another process that comes and goes is not the last one: the log stays, and both see what
        both write.
        """
        engine = self.engine()
        with engine.connect() as one, engine.connect() as two:
            transact(
                one, lambda asked: asked.exec_driver_sql("CREATE TABLE said (text)"), writing=True
            )
            transact(
                two,
                lambda asked: asked.exec_driver_sql("INSERT INTO said VALUES ('two')"),
                writing=True,
            )
            log = self.path.with_name(f"{self.path.name}-wal")
            before = log.stat().st_ino
            subprocess.run([sys.executable, "-c", OTHER, self.path], check=True, timeout=60)
            self.assertEqual(log.stat().st_ino, before)
            said = transact(
                one,
                lambda asked: asked.exec_driver_sql("SELECT text FROM said").scalars().all(),
                writing=False,
            )
            self.assertEqual(said, ["two", "other"])

    def test_no_database(self) -> None:
        """A file of something else, however short, is not written over."""
        for size in (1, 2, 15, 16, 100, 511, 512, 4096, 5000):
            self.path.write_bytes(b"x" * size)
            error = self.assertRaises(DatabaseError, self.engine().connect)
            self.assertEqual((size, error_kind(error)), (size, DatabaseErrorKind.DAMAGED))
            self.assertEqual(self.path.read_bytes(), b"x" * size)

    def test_replaced_while_it_is_opened(self) -> None:
        """A connection that may have one file and the log of another is none."""

        def replace() -> None:
            other = self.path.with_name("other")
            make_file(other)
            other.replace(self.path)

        error = self.assertRaises(OperationalError, self.engine(Replacing(replace)).connect)  # type: ignore[arg-type]
        self.assertEqual(error_kind(error), DatabaseErrorKind.AWAY)
        self.engine().connect().close()
