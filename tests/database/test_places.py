"""URLs of databases: which can be used, and that nothing of them is told."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import CannotStart
from pypid.database.places import Server, SqliteFile, place_of

FILE = Path("/state/accounts.db")


class PlaceTests(SynchronousTestCase):
    """`place_of`."""

    def test_servers(self) -> None:
        """A server's URL is SQLAlchemy's, whichever of its names was taken; without one it is the
        file.
        """
        for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
            place = place_of(f"{scheme}://u:p%40ss@host:5432/db", FILE)
            self.assertEqual(place, Server("postgresql+psycopg://u:p%40ss@host:5432/db"))
        self.assertEqual(place_of(None, FILE), SqliteFile(FILE))

    def test_refused_without_a_word(self) -> None:
        """What cannot be used is refused with advice, and no part of it is told: a password may be
        anywhere in it.
        """
        for url in (
            "hunter2",
            "mysql://u:hunter2@h/db",
            "postgresql+asyncpg://u:hunter2@h/db",
            "sqlite://hunter2",
            "sqlite:///hunter2.db",
            "sqlite:////hunter2.db",
            "postgresql:hunter2",
            "postgresql://u:p@hunter2@h/db",
            "postgresql://u:p/hunter2@h/db",
            "postgresql://u:1/hunter2@h/db",
            "postgresql://u:p#hunter2@h/db",
            "postgresql://u:1?hunter2@h/db",
            "postgresql://u:hunter2@h",
            "postgresql://u:hunter2@h:port/db",
            "postgresql://u:hunter2@h:99999/db",
            "postgresql://u:hunter2@[h/db",
        ):
            error = self.assertRaises(CannotStart, place_of, url, FILE)
            self.assertNotIn("hunter2", f"{error}{error!r}{error.__cause__}", url)
            self.assertIn("[database] url", str(error))

    def test_cleaned(self) -> None:
        """A password is in no repr, and is taken out of what a driver says, as it was quoted and as
        it is.
        """
        place = place_of("postgresql://u:hun%20ter%402@h/db?password=other", FILE)
        self.assertNotIn("ter", repr(place))
        said = place.clean(
            "no hun ter@2, no hun%20ter%402, no "
            "postgresql+psycopg://u:hun%20ter%402@h/db?password=other, no other"
        )
        self.assertEqual(said, "no ***, no ***, no ***, no ***")
