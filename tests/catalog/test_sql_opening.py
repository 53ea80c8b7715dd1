"""The engine of the catalog, as a pypid opens it."""

import os
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor as installed  # noqa: TID251
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import CannotStart
from pypid.core.installation import install_hint
from pypid.database.catalog import catalog_engine
from pypid.database.places import Server, SqliteFile
from pypid.flow import World

reactor: Any = installed


def the_world() -> World:
    """The real one."""
    return World(
        clock=reactor,
        now=lambda: datetime.now(UTC),  # noqa: TID251
        blocking=deferToThread,
        random=os.urandom,
    )


def names() -> list[str]:
    """Of the threads that an engine has."""
    return [thread.name for thread in threading.enumerate() if "catalog" in thread.name]


class RefusedTests(SynchronousTestCase):
    """What cannot be opened."""

    def test_no_driver(self) -> None:
        """Without PostgreSQL's driver it is said how to install it; SQLite needs none."""
        self.enterContext(patch.dict(sys.modules, {"psycopg": None}))  # type: ignore[dict-item]
        server = Server("postgresql+psycopg://u:hunter2@h/db")
        error = self.assertRaises(CannotStart, catalog_engine, server, the_world(), reactor)
        self.assertIn(install_hint("postgresql"), str(error))
        self.assertNotIn("hunter2", f"{error}{error!r}")
        catalog_engine(SqliteFile(Path("/catalog.db")), the_world(), reactor)
