"""Accounts that are lost, or those of another pypid: nothing that their rights closed is open."""

import sqlite3
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import ask, basic
from tests.live.daemon import BIN, LiveIndex, Settings, configuration, pypid
from tests.live.postgresql import shared
from tests.live.processes import clean_environ, free_port, scratch
from tests.live.projects import publish, wheel

HIDDEN = wheel("hidden")
PATHS = (
    "/simple/hidden/",
    f"/packages/hidden/{HIDDEN.filename}",
    f"/packages/hidden/{HIDDEN.filename}.metadata",
    "/api/projects/hidden",
)
ACCESS = "backend = config sql\n"


class LostTests(SynchronousTestCase):
    """A storage folder with a project that a right in the accounts database closes."""

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.storage = self.stack.enter_context(scratch())

    def folder(self) -> Path:
        """A new folder, for a configuration and a state folder."""
        return self.stack.enter_context(scratch())

    def settings(self, access: str = ACCESS) -> Settings:
        return Settings(access=access, storage=self.storage)

    def fill(self, folder: Path, access: str = ACCESS) -> None:
        """Publish the project, and close it."""
        with pypid(folder, self.settings(access)) as index:
            publish(index, HIDDEN, user="admin")
            path = "/api/projects/hidden/rights/user/alice"
            closed = ask(index.port, path, basic("admin"), method="PUT", document={"right": "r"})
            self.assertEqual(closed.status, 200, closed)
            self.assert_closed(index)

    def assert_closed(self, index: LiveIndex) -> None:
        """It is closed to anonymous clients and to another user, and in no list of theirs."""
        for headers, refusals in (({}, {401}), (basic("bob"), {403, 404})):
            for path in PATHS:
                answer = ask(index.port, path, headers)
                self.assertIn(answer.status, refusals, (path, answer))
            for path in ("/simple/", "/api/projects"):
                self.assertNotIn("hidden", ask(index.port, path, headers).text)

    def refuses_to_start(self, folder: Path, access: str = ACCESS) -> str:
        """What a start says that ends by itself."""
        file = folder / "pypid.ini"
        file.write_text(configuration(folder, free_port(), self.settings(access)))
        command = [BIN / "twistd", "--nodaemon", "--pidfile=", "pypid", "--config", file]
        ended = subprocess.run(
            command, env=clean_environ(), capture_output=True, text=True, timeout=60, check=False
        )
        said = ended.stdout + ended.stderr
        self.assertNotEqual(ended.returncode, 0, said)
        self.assertIn("tokens that belong to this storage", " ".join(said.split()))
        self.assertIn(str(self.storage / ".pypid/accounts-known"), said)
        self.assertNotIn("Traceback", said)
        return said

    def taken(self, accounts: Path) -> Path:
        """Remove the database, with its log; return a copy."""
        copy = self.folder() / accounts.name
        with closing(sqlite3.connect(accounts)) as connection:
            connection.execute("VACUUM INTO ?", [str(copy)])
        for file in accounts.parent.glob(f"{accounts.name}*"):
            file.unlink()
        return copy

    def test_sqlite(self) -> None:
        """The file is missing, empty, or that of another pypid; the state folder is new."""
        folder = self.folder()
        self.fill(folder)
        accounts = folder / "state/accounts.db"
        right = self.taken(accounts)
        self.refuses_to_start(folder)
        sqlite3.connect(accounts).close()
        self.refuses_to_start(folder)
        self.refuses_to_start(self.folder())
        own, self.storage = self.storage, self.folder()
        other = self.folder()
        self.fill(other)
        self.storage = own
        self.taken(accounts)
        self.taken(other / "state/accounts.db").rename(accounts)
        self.refuses_to_start(folder)
        self.taken(accounts)
        right.rename(accounts)
        with pypid(folder, self.settings()) as index:
            self.assert_closed(index)

    def test_postgresql(self) -> None:
        """Another, empty database. With the right one, a new state folder changes nothing."""
        server = shared()
        access, other = (f"{ACCESS}url = {server.database()}\n" for _ in range(2))
        folder = self.folder()
        self.fill(folder, access)
        self.assertNotIn("postgresql://", self.refuses_to_start(folder, other))
        self.refuses_to_start(folder, ACCESS)
        with pypid(self.folder(), self.settings(access)) as index:
            self.assert_closed(index)

    def test_without_note(self) -> None:
        """A storage of a former version has no note: the first start writes it, and says so. The way
        out of lost accounts is to remove it.
        """
        folder, note = self.folder(), self.storage / ".pypid/accounts-known"
        self.fill(folder)
        note.unlink()
        with pypid(folder, self.settings()) as index:
            self.assertIn("noted which accounts belong to this storage", index.log())
            self.assert_closed(index)
        new = self.folder()
        self.refuses_to_start(new)
        note.unlink()
        with pypid(new, self.settings()) as index:
            self.assertEqual(ask(index.port, PATHS[0], {}).status, 200)
