"""A backup of an index that runs, and what a restore brings back: with pip, on disk and on S3."""

import atexit
import functools
import json
import shutil
import signal
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import ask, basic, command
from tests.live.daemon import LiveIndex, Settings, configuration, pypid
from tests.live.isolation import pip, works
from tests.live.postgresql import postgresql
from tests.live.processes import BIN, Running, clean_environ, done, free_port, running, scratch
from tests.live.projects import manage, page, publish, wheel
from tests.live.stores import Store, store
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
        self.backup = self.folder / "backup.tar.gz"

    def pypid(self, *words: str | Path, status: int = 0) -> str:
        """What a command printed."""
        config = self.index_folder / "pypid.ini"
        return done([BIN / "pypid", *words, "--config", config], cwd=self.folder, status=status)

    def fill(self, index: LiveIndex) -> dict[str, Any]:
        """Projects with a yank, a deleted file and a status, a user, a group, a right, a token and
        a snapshot; return the token.
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
        command(index.config, "snapshot", "create", "before", "--note", "kept")
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
                ("user", "list"), ("group", "list"), ("right", "list"), ("snapshot", "list")
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
    def test_all_comes_back(self) -> None:
        """Published, backed up while it runs, wiped, restored: pages, users, rights, tokens,
        snapshots and the audit log are equal; logins and pip work.
        """
        with pypid(self.index_folder, Settings(access=SQL, server=SERVER)) as index:
            token = self.fill(index)
            before = self.seen(index)
            self.pypid("backup", "create", self.backup, "--files")
            self.assertEqual(self.backup.stat().st_mode & 0o777, 0o600)
            self.assertIn("backup", self.pypid("audit"))
            refused = self.pypid("restore", self.backup, status=1)
            self.assertIn("Another pypid is running", refused)
        self.assertIn("--force", self.restore(status=1))
        shutil.rmtree(self.index_folder / "state")
        self.restore()
        with pypid(self.index_folder, Settings(access=SQL, server=SERVER)) as index:
            self.assertEqual(self.seen(index), before)
            self.works_as_before(index, token)
            self.assertIn("restore", self.pypid("audit"))

    def restore(self, *more: str | Path, status: int = 0) -> str:
        return self.pypid("restore", self.backup, *more, status=status)

    def test_a_new_machine(self) -> None:
        """On a new machine the configuration comes out of the backup; an encrypted one needs the
        secret. A second restore is refused, and with --force moves the former accounts aside.
        """
        with pypid(self.index_folder, Settings(access=SQL, server=SERVER)) as index:
            self.fill(index)
            self.pypid("backup", "create", self.folder, "--files", "--encrypt")
        (self.backup,) = self.folder.glob("*.encrypted")
        self.assertNotIn(b"spam", self.backup.read_bytes())
        shutil.rmtree(self.index_folder)
        self.index_folder.mkdir()
        self.assertIn("is encrypted. Set PYPID_SERVER_SECRET", self.restore(status=1))
        words = [BIN / "pypid", "restore", self.backup, "--config", self.index_folder / "pypid.ini"]
        done(words, environ=clean_environ(PYPID_SERVER_SECRET=SECRET))
        self.assertIn("--force", self.restore(status=1))
        self.restore("--force")
        (aside,) = (self.index_folder / "state").glob("before-restore-*")
        self.assertTrue((aside / "accounts.db").exists())
        with pypid(self.index_folder, Settings(access=SQL, server=SERVER)) as index:
            self.assertEqual(ask(index.port, "/api/session", basic("dave", PASSWORD)).status, 200)

    def test_a_copy(self) -> None:
        """A drill compares all pages of a copy. `--into` makes a copy that stays, in one folder."""
        with pypid(self.index_folder, Settings(access=SQL, server=SERVER)) as index:
            self.fill(index)
            command(index.config, "index", "create", "team")
            command(index.config, "promote", "ham==1.0", "--from", "default", "--to", "team")
            self.pypid("backup", "create", self.backup, "--files")
            report = json.loads(self.restore("--drill", "--json"))
            self.assertEqual(report["differences"], [])
            self.assertEqual((report["projects"], report["files"]), (4, 5))
            self.assertIn("dave", command(index.config, "user", "list"))
            self.assertIsNotNone(report["login"])
            self.restore("--into", self.folder / "copy")
            text = (self.folder / "copy/pypid.ini").read_text()
            self.assertIn("state = state", text)
            self.assertIn(f"# state = {self.index_folder}", text)
            words = [BIN / "pypid", "user", "list", "--config", self.folder / "copy/pypid.ini"]
            self.assertIn("dave", done(words))
            promoted, copied = (self.folder / "copy").rglob("ham-1.0*.whl")
            self.assertTrue(promoted.samefile(copied))

    def test_killed_restores_are_repeated(self) -> None:
        """A restore that is killed at any time leaves an index that does not start, until the same
        command was run again.
        """
        with pypid(self.index_folder, Settings(access=SQL, server=SERVER)) as index:
            token = self.fill(index)
            publish(index, *(wheel(f"more-{number}") for number in range(60)))
            before = self.seen(index)
            self.pypid("backup", "create", self.backup, "--files")
        words = [BIN / "pypid", "restore", self.backup, "--config", self.index_folder / "pypid.ini"]
        unfinished = self.index_folder / "state/restore-unfinished"
        shutil.rmtree(self.index_folder / "state")
        killed = 0
        for pause in (0.0, 0.02, 0.05, 0.1, 0.2):
            process = subprocess.Popen(words, env=clean_environ(), stderr=subprocess.PIPE)
            deadline = time.monotonic() + 30
            while not unfinished.exists() and process.poll() is None:
                self.assertLess(time.monotonic(), deadline)
            time.sleep(pause)
            process.kill()
            process.communicate()
            if unfinished.exists():
                killed += 1
                said = self.pypid("serve", status=1)
                self.assertIn("Run the same `pypid restore` command again", said)
            else:
                shutil.rmtree(self.index_folder / "state")
        self.assertGreater(killed, 0)
        self.restore(*([] if unfinished.exists() else ["--force"]))
        unfinished.write_text("of another backup")
        self.assertIn("another backup", self.restore(status=1))
        self.restore("--force")
        self.assertFalse(unfinished.exists())
        with pypid(self.index_folder, Settings(access=SQL, server=SERVER)) as index:
            self.assertEqual(self.seen(index), before)
            self.works_as_before(index, token)

    def test_a_refused_restore_changes_nothing(self) -> None:
        """A restore that is refused leaves the state folder as it was. `--only state` opens no
        storage: a folder whose disk is not mounted stays empty, and the start still says so.
        """
        state = self.index_folder / "state"
        with pypid(self.index_folder, Settings(access=SQL, server=SERVER)) as index:
            self.fill(index)
            self.pypid("backup", "create", self.backup)
        (state / "packages").rename(self.folder / "unmounted")
        before = contents(state)
        self.assertIn("--force", self.restore(status=1))
        self.assertIn("mount it", self.restore("--force", status=1))
        self.assertEqual(contents(state), before)
        self.restore("--only", "state", "--force")
        self.assertFalse((state / "packages").exists())
        self.assertIn("mount it", self.pypid("serve", status=1))
        (self.folder / "unmounted").rename(state / "packages")
        for path in state.glob("*.db*"):
            path.unlink()
        before = contents(state)
        self.assertIn("--force", self.restore(status=1))
        self.assertEqual(contents(state), before)

    def test_a_killed_backup_leaves_no_file(self) -> None:
        """A backup that is killed leaves nothing under its name; the next one works."""
        with pypid(self.index_folder, Settings(access=SQL, server=SERVER)) as index:
            publish(index, *(wheel(f"more-{number}") for number in range(30)))
            words = [BIN / "pypid", "backup", "create", self.backup, "--config", index.config]
            process = subprocess.Popen(words, env=clean_environ())
            while not [*self.folder.glob(".backup.*.part")] and process.poll() is None:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.assertFalse(self.backup.exists())
            self.pypid("backup", "create", self.backup)
            self.assertIn("All hashes are correct", self.pypid("backup", "verify", self.backup))

    def test_uploads_go_on(self) -> None:
        """Whatever was published before a backup begins is in it, and each record has its file,
        however many uploads arrive meanwhile.
        """
        with pypid(self.index_folder, Settings(access=SQL, server=SERVER)) as index:
            published: list[str] = []
            ended = threading.Event()

            def upload() -> None:
                while not ended.is_set():
                    name = f"busy-{len(published)}"
                    publish(index, wheel(name))
                    published.append(name)

            thread = threading.Thread(target=upload)
            thread.start()
            try:
                for number in range(3):
                    while len(published) < 20 * (number + 1):
                        time.sleep(0.01)
                    acknowledged = list(published)
                    self.pypid("backup", "create", self.backup, "--files", "--force")
                    copy = self.folder / f"copy-{number}"
                    self.restore("--into", copy)
                    files = {path.name for path in (copy / "packages").rglob("*") if path.is_file()}
                    for name in acknowledged:
                        filename = wheel(name).filename
                        self.assertIn(f"{filename}.record.json", files)
                    for name in files:
                        if name.endswith(".record.json"):
                            self.assertIn(name.removesuffix(".record.json"), files)
            finally:
                ended.set()
                thread.join()


def contents(state: Path) -> dict[Path, bytes]:
    """What is of record in a state folder, its dump and its storage."""
    return {
        path: path.read_bytes()
        for path in sorted(state.rglob("*"))
        if path.is_file() and path.name not in ("lock", "reserve")
    }


@frozen
class WaitingRestore:
    """A restore that waits for the lease of a bucket, which the pypid `index` holds."""

    stack: ExitStack
    index: LiveIndex
    state: Path
    """The state folder of the restore."""
    process: Running


@functools.cache
def waiting_restore() -> WaitingRestore:
    """The one of this process. It waits for 80 seconds, while other tests run."""
    stack = ExitStack()
    s3 = stack.enter_context(store("radosgw"))  # before `atexit`: it ends after the stack
    atexit.register(stack.close)
    folder = stack.enter_context(scratch())
    for name in ("index", "other"):
        (folder / name).mkdir()
    settings = Settings(access=SQL, server=SERVER, bucket=lines(s3, s3.bucket("backup")))
    index = stack.enter_context(pypid(folder / "index", settings))
    publish(index, wheel("spam"))
    backup, other = folder / "backup.tar.gz", folder / "other/pypid.ini"
    command(index.config, "backup", "create", str(backup))
    other.write_text(configuration(other.parent, free_port(), settings))
    words = [BIN / "pypid", "restore", backup, "--config", other, "--force"]
    process = stack.enter_context(running(words, folder / "said", cwd=folder))
    return WaitingRestore(stack, index, other.parent / "state", process)


class WaitingTests(SynchronousTestCase):
    def test_another_pypid_writes_to_the_bucket(self) -> None:
        """A restore into a bucket that a pypid with another state folder uses is refused, and
        changes nothing.
        """
        waiting = waiting_restore()
        self.addCleanup(waiting.stack.close)
        self.assertEqual(waiting.process.process.wait(300), 1)
        self.assertIn("writes to the storage of this index", waiting.process.output())
        self.assertFalse((waiting.state / "restore-unfinished").exists())
        self.assertFalse((waiting.state / "accounts.db").exists())
        publish(waiting.index, wheel("eggs"))


class BucketTests(BackupCase):
    def setUp(self) -> None:
        super().setUp()
        waiting_restore()

    def test_a_bucket_and_a_database_server(self) -> None:
        """An index on S3 with its accounts in PostgreSQL comes back into an empty bucket and an
        empty database.
        """
        s3 = self.stack.enter_context(store("radosgw"))
        server = self.stack.enter_context(postgresql())

        def settings() -> Settings:
            access = f"{SQL}\nurl = {server.database()}"
            return Settings(access=access, server=SERVER, bucket=lines(s3, s3.bucket("backup")))

        with pypid(self.index_folder, settings()) as index:
            token = self.fill(index)
            before = self.seen(index)
            self.pypid("backup", "create", self.backup, "--files")
        shutil.rmtree(self.index_folder / "state")
        other = settings()
        text = configuration(self.index_folder, free_port(), other)
        (self.index_folder / "pypid.ini").write_text(text)
        self.pypid("restore", self.backup)
        with pypid(self.index_folder, other) as index:
            self.assertEqual(self.seen(index), before)
            self.works_as_before(index, token)
        shutil.rmtree(self.index_folder / "state")
        self.assertIn("has accounts", self.pypid("restore", self.backup, status=1))

    def test_the_bucket_is_there_already(self) -> None:
        """A backup without package files brings back the accounts beside a bucket that still has
        everything.
        """
        s3 = self.stack.enter_context(store("radosgw"))
        settings = Settings(access=SQL, bucket=lines(s3, s3.bucket("backup")))
        with pypid(self.index_folder, settings) as index:
            token = self.fill(index)
            before = self.seen(index)
            self.pypid("backup", "create", self.backup)
        shutil.rmtree(self.index_folder / "state")
        self.assertIn("--only state", self.pypid("restore", self.backup, status=1))
        self.pypid("restore", self.backup, "--only", "state")
        with pypid(self.index_folder, settings) as index:
            self.assertEqual(self.seen(index), before)
            self.works_as_before(index, token)


def lines(s3: Store, bucket: str) -> str:
    """The lines of `[storage]` for a bucket."""
    values = {
        "backend": "s3", "bucket": bucket, "region": s3.region, "endpoint_url": s3.endpoint,
        "access_key": s3.access_key, "secret_key": s3.secret_key,
    }  # fmt: skip
    return "\n".join(f"{key} = {value}" for key, value in values.items())
