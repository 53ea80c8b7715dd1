"""A copy of what an index cannot make again, made while it runs, and put in its place."""

import json
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import ask, basic, command
from tests.live.daemon import LiveIndex, Settings, pypid
from tests.live.isolation import pip, works
from tests.live.postgresql import postgresql
from tests.live.processes import BIN, clean_environ, done, scratch
from tests.live.projects import manage, page, publish, wheel
from tests.live.test_install import NEWEST, installed

SECRET: Final = "a-secret-that-pypid-gen-secret-could-have-made"
PASSWORD: Final = "dave-has-a-long-password"
SERVER: Final = f"secret = {SECRET}"
SQL: Final = "backend = config sql"


class BackupCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = self.stack.enter_context(scratch())
        self.index_folder = self.folder / "index"
        self.index_folder.mkdir()
        self.backup = self.folder / "backup"

    def pypid(self, *words: str | Path, status: int = 0) -> str:
        """What a command printed."""
        config = self.index_folder / "pypid.ini"
        return done([BIN / "pypid", *words, "--config", config], cwd=self.folder, status=status)

    def fill(self, index: LiveIndex) -> dict[str, Any]:
        """Projects with a yank, a deleted file and a status, a user, a group, a right and a token;
        return the token.
        """
        publish(index, wheel("spam"), wheel("spam", "2.0"), wheel("eggs"), wheel("eggs", "2.0"))
        publish(index, wheel("ham"), user="carol")
        manage(index, "PUT", "spam/releases/2.0/yank", reason="broken")
        manage(index, "DELETE", "eggs/releases/2.0")
        manage(index, "PUT", "ham/status", status="deprecated", reason="old")
        subprocess.run(
            [BIN / "pypid", "user", "create", "dave", "--stdin", "--config", index.config],
            input=PASSWORD, text=True, check=True, env=clean_environ(), capture_output=True,
        )  # fmt: skip
        command(index.config, "group", "create", "devs")
        command(index.config, "group", "add-user", "devs", "dave")
        command(index.config, "right", "grant", "ham", "group:devs", "rw")
        made = command(
            index.config, "token", "create", "ci", "--user", "alice", "--can", "publish", "--json"
        )
        token: dict[str, Any] = json.loads(made)
        return token

    def seen(self, index: LiveIndex) -> object:
        """All that a restore has to bring back."""
        pages = {name: page(index, name, "admin") for name in ("spam", "eggs", "ham")}
        for document in pages.values():
            document["meta"].pop("_last-serial", None)
        listing = [
            json.loads(command(index.config, *words, "--json"))
            for words in (
                ("user", "list"), ("group", "list"), ("right", "list")
            )
        ]  # fmt: skip
        audit = json.loads(command(index.config, "audit", "--action", "project publish", "--json"))
        return pages, listing, audit["entries"]

    def works_as_before(self, index: LiveIndex, token: dict[str, Any]) -> None:
        """Logins, the token and pip work."""
        for headers in (basic("alice"), basic("dave", PASSWORD)):
            answer = ask(index.port, "/api/session", headers)
            self.assertEqual(answer.status, 200, answer.text)
        wrong = ask(index.port, "/api/session", basic("dave", "a-wrong-password"))
        self.assertEqual(wrong.status, 401)
        new = wheel("spam", "3.0").into(self.folder)
        form = [
            "/usr/bin/curl", "--silent", "--show-error", "--fail-with-body",
            "--user", f"__token__:{token['secret']}",
            "--form", ":action=file_upload", "--form", "protocol_version=1",
            "--form", f"content=@{new}", index.url("/legacy/"),
        ]  # fmt: skip
        works(form, self.folder)
        target = self.folder / "installed"
        shutil.rmtree(target, ignore_errors=True)
        line = pip(NEWEST, "install", index.url(), "--target", target, "spam", "eggs")
        works(line, self.folder)
        self.assertEqual(installed(target), {"spam-3.0", "eggs-1.0"})


class FolderTests(BackupCase):
    settings = Settings(access=SQL, server=SERVER)

    def test_all_comes_back(self) -> None:
        """Published, backed up while it runs, lost, put back: pages, users, rights, tokens
        and the audit log are equal; logins and pip work. A second backup replaces the
        first.
        """
        state = self.index_folder / "state"
        with pypid(self.index_folder, self.settings) as index:
            token = self.fill(index)
            self.pypid("backup", self.backup)
            command(index.config, "group", "create", "later")
            before = self.seen(index)
            said = self.pypid("backup", self.backup)
            self.assertIn(f"The files of packages are not in it: {state}/packages", said)
            self.assertIn("backup", self.pypid("audit"))
        shutil.copytree(state / "packages", self.folder / "packages")
        self.assertEqual(self.backup.stat().st_mode & 0o777, 0o700)
        self.assertEqual({path.stat().st_mode & 0o777 for path in self.backup.iterdir()}, {0o600})
        shutil.rmtree(state)
        shutil.copytree(self.backup, state)
        shutil.copytree(self.folder / "packages", state / "packages")
        with pypid(self.index_folder, self.settings) as index:
            self.assertEqual(self.seen(index), before)
            self.works_as_before(index, token)

    def test_server(self) -> None:
        """The accounts on a database server are not in it, which the command says."""
        server = self.stack.enter_context(postgresql())
        database = f"[database]\nurl = {server.database()}\n"
        settings = Settings(access=SQL, server=SERVER, sections=database)
        with pypid(self.index_folder, settings) as index:
            self.fill(index)
            self.backup.mkdir()
            (self.backup / "accounts.db").touch()  # of the time before the server
            self.assertIn("copy them with pg_dump", self.pypid("backup", self.backup))
            self.assertIn("backup", self.pypid("audit"))
        self.assertEqual([*self.backup.glob("*.db")], [])
        self.assertTrue((self.backup / "pypid.ini").exists())
