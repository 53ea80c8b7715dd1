"""The first run: what it prints works as it is printed, and is not printed again."""

import contextlib
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import ask, basic, bearer
from tests.live.clients import client
from tests.live.isolation import fails, works
from tests.live.processes import (
    BIN,
    Running,
    clean_environ,
    files_below,
    free_port,
    running,
    scratch,
)
from tests.live.projects import wheel
from tests.live.test_install import NEWEST, installed


@frozen
class Greeting:
    """What a first run printed."""

    text: str

    @property
    def password(self) -> str:
        """The password of the administrator."""
        (found,) = re.findall(r"^    password  (\S+)$", self.text, re.MULTILINE)
        return str(found)

    @property
    def scripts(self) -> list[str]:
        """The commands, as they are printed; those without a line between them are one script."""
        found = re.findall(r"(?:^    .*\n)+", self.text, re.MULTILINE)
        return [re.sub("^    ", "", each, flags=re.MULTILINE) for each in found[1:]]

    @property
    def folder(self) -> str | None:
        """The folder that it names for the commands."""
        found = re.search(
            r"^Open another terminal in the folder (.+), and", self.text, re.MULTILINE
        )
        return None if found is None else found[1]


class FirstRunTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.enterContext(scratch())
        self.home = self.folder / "home"
        self.home.mkdir()
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"

    def started(self, command: Sequence[str | Path], cwd: Path, path: str = "") -> Running:
        """A run in that folder, by a user without any file; it ends with the test."""
        environ = clean_environ(
            HOME=str(self.home),
            XDG_DATA_HOME=str(self.home / ".local/share"),
            PYPID_SERVER_LISTEN=f"tcp:{self.port}:interface=127.0.0.1",
            PYPID_ADVISORIES_SOURCE="",
            PATH=f"{path}/usr/bin:/bin",
        )
        log = self.folder / f"log-{time.monotonic_ns()}"
        process = self.enterContext(running(command, log, cwd=cwd, environ=environ))
        process.until_answers(f"{self.address}/health")
        return process

    def check(self, process: Running, anywhere: Path, path: str = "") -> Greeting:
        """Each printed command works in one shell as it is printed, with uv, twine and pip: those of
        pypid in the folder that is named, else `anywhere`. The password is printed once, and on no
        command line.
        """
        greeting = Greeting(process.output())
        self.assertEqual(process.output().count(greeting.password), 1)
        tokens, by_uv, by_twine, uv, pip, creating = greeting.scripts
        work = self.folder / "work"
        wheel("by-uv").into(work / "dist")
        wheel("by-twine").into(work / "dist-2")
        folders = ":".join(str(client(name).parent) for name in ("twine", "uv", NEWEST))
        python = client(NEWEST).with_name("python")
        works([python, "-m", "venv", "--without-pip", self.folder / "venv"], self.home)
        there = greeting.folder or anywhere
        project = (uv + pip).replace("PROJECT", "by-uv")
        swap = "mv dist dist-1\nmv dist-2 dist\n"
        script = (
            f"cd {there}\n{tokens}cd {work}\n{by_uv}{swap}{by_twine}{project}cd {there}\n{creating}"
        )
        said = works(
            ["/bin/sh", "-ec", script],
            self.home,
            PATH=f"{path}{folders}:/usr/bin:/bin",
            PIP_TARGET=str(self.folder / "target"),
            VIRTUAL_ENV=str(self.folder / "venv"),
        )
        self.assertTrue((self.folder / "target/by_uv.py").exists())
        (site,) = (self.folder / "venv/lib").glob("python3*/site-packages")
        self.assertEqual(installed(site), {"by_uv-1.0"})
        self.assertEqual(ask(self.port, "/local/by-twine/", self.admin(greeting)).status, 200)
        (password,) = re.findall(r"^password: (\S+)$", said, re.MULTILINE)
        self.assertEqual(ask(self.port, "/api/me", basic("alice", password)).status, 200)
        return greeting

    def admin(self, greeting: Greeting) -> dict[str, str]:
        """The header of the administrator."""
        return basic("admin", greeting.password)

    def twistd(self, read: str) -> Path:
        """The folder of a configuration that says who may read."""
        (self.folder / "pypid.ini").write_text(
            f"[server]\nstate = state\n[access]\nread = {read}\n"
        )
        return self.folder

    def closed_or_open(self, read: str) -> None:
        cwd = self.twistd(read)
        command = [BIN / "twistd", "--nodaemon", "--pidfile=", "pypid"]
        first = self.started([*command, "--config", "pypid.ini"], cwd)
        greeting = self.check(first, Path("/"))
        self.assertNotIn("--config", greeting.text)
        self.assert_hidden(greeting.password)
        first.stop()
        second = self.started(command, cwd)
        self.assertNotIn("first run", second.output())
        self.assertNotIn("has not logged in", second.output())
        self.assertEqual(ask(self.port, "/api/users", self.admin(greeting)).status, 200)

    def test_open(self) -> None:
        """Where all may read, with twistd and ./pypid.ini; a second start prints nothing."""
        self.closed_or_open("everyone")

    def test_closed(self) -> None:
        """Where only users may read: the same, and installers get a token from a variable."""
        self.closed_or_open("authenticated")

    def test_empty_folder(self) -> None:
        """`pypid serve` in an empty folder, of a program on the path: the first line tells the
        configuration and the data folder, and the commands find it from any folder.
        """
        cwd, elsewhere, path = self.folder / "empty", self.folder / "elsewhere", f"{BIN}:"
        cwd.mkdir()
        elsewhere.mkdir()
        first = self.started(["pypid", "serve"], cwd, path)
        data = self.home / ".local/share/pypid"
        line = first.output().splitlines()[0]
        self.assertRegex(line, rf"^pypid \S+: configuration built-in defaults, data in {data}$")
        self.assertEqual(list(cwd.iterdir()), [])
        greeting = self.check(first, elsewhere, path)
        self.assertIn(
            "$(pypid token create publish --user admin --can publish --quiet)\n", greeting.text
        )
        self.assertEqual(stat.S_IMODE(data.stat().st_mode), 0o700)

    def test_no_daemon(self) -> None:
        """Without a file and before the first run a command says what to do, and creates nothing."""
        environ = {"XDG_DATA_HOME": str(self.home / "data")}
        said = fails([BIN / "pypid", "user", "create", "alice"], self.home, **environ)
        self.assertIn("Start the index with `pypid serve`", said)
        self.assertEqual(list(self.home.iterdir()), [])

    def assert_hidden(self, password: str) -> None:
        """Only a hash is stored, where only the owner may look."""
        state = self.folder / "state"
        self.assertEqual(stat.S_IMODE(state.stat().st_mode), 0o700)
        for path in files_below(state):
            with contextlib.suppress(FileNotFoundError):  # a temporary file of the running server
                self.assertNotIn(password.encode(), path.read_bytes(), path)
        record = state / "admin.json"
        self.assertEqual(stat.S_IMODE(record.stat().st_mode), 0o600)
        self.assertIn("$argon2id$", record.read_text())

    def test_killed_before_print(self) -> None:
        """Killed between the record and the print, or with the output lost: each start says how to
        get a password, until there was a login.
        """
        command, cwd = [BIN / "pypid", "serve"], self.twistd("everyone")
        first = self.started(command, cwd)
        password = Greeting(first.output()).password
        first.stop()
        for _ in range(2):
            again = self.started(command, cwd)
            self.assertIn(f"delete {cwd / 'state/admin.json'} and start", again.output())
            self.assertNotIn(password, again.output())
            again.stop()
        (cwd / "state/admin.json").unlink()
        fresh = self.started(command, cwd)
        admin = self.admin(Greeting(fresh.output()))
        self.assertEqual(ask(self.port, "/api/users", admin).status, 200)
        fresh.stop()
        last = self.started(command, cwd)
        self.assertEqual(ask(self.port, "/api/users", admin).status, 200)
        self.assertNotIn("has not logged in", last.output())

    def logs_in(self, password: str) -> bool:
        """Whether the administrator can log in."""
        return ask(self.port, "/api/users", basic("admin", password)).status == 200

    def test_change_password(self) -> None:
        """The administrator changes the password in the browser and by the command; the token works
        on, only the newest password does, also after a crash before the record says so; without the
        record a start prints a password that works, and can be changed.
        """
        serve, cwd = [BIN / "pypid", "serve"], self.twistd("everyone")
        first = self.started(serve, cwd)
        printed, record = Greeting(first.output()).password, cwd / "state/admin.json"
        name = ["--user", "admin", "--can", "publish", "--quiet"]
        token = works([BIN / "pypid", "token", "create", "ci", *name], cwd).strip()
        owner = {"user": "admin"}
        set_owner = ask(
            self.port,
            "/api/projects/acme/owner",
            self.admin(Greeting(first.output())),
            method="PUT",
            document=owner,
        )
        self.assertEqual(set_owner.status, 200, set_owner.text)
        before = record.read_bytes()
        page = ask(self.port, "/account/", basic("admin", printed))
        self.assertIn("Repeat new password", page.text)
        self.assertEqual(record.read_bytes(), before)
        path, chosen = "/api/users/admin/password", "first choice"
        document = {"password": chosen, "current": printed}
        answer = ask(self.port, path, basic("admin", printed), method="PUT", document=document)
        self.assertEqual(answer.status, 200, answer.text)
        self.assertEqual((self.logs_in(printed), self.logs_in(chosen)), (False, True))
        first.process.kill()
        first.process.wait()
        record.write_bytes(before)  # as if it had been killed before it was written
        second = self.started(serve, cwd)
        self.assertEqual((self.logs_in(printed), self.logs_in(chosen)), (False, True))
        self.assertEqual(ask(self.port, "/api/me", bearer(token)).json["user"], "admin")
        owned = ask(self.port, "/api/projects/acme/owner", basic("admin", chosen))
        self.assertEqual(
            (owned.json["owner"]["user"], owned.json["owner"]["source"]), ("admin", "sql")
        )
        said = works([BIN / "pypid", "user", "set-password", "admin"], cwd)
        (made,) = re.findall(r"^password: (\S+)$", said, re.MULTILINE)
        self.assertEqual((self.logs_in(chosen), self.logs_in(made)), (False, True))
        works([BIN / "pypid", "user", "create", "root", "--admin"], cwd)
        works([BIN / "pypid", "user", "delete", "admin", "--yes"], cwd)
        second.stop()
        third = self.started(serve, cwd)
        self.assertFalse(any(map(self.logs_in, (printed, chosen, made))))
        self.assertNotIn("first run", third.output())
        third.stop()
        record.unlink()
        again = Greeting(self.started(serve, cwd).output()).password
        self.assertTrue(self.logs_in(again))
        works([BIN / "pypid", "user", "set-password", "admin"], cwd)
        self.assertFalse(self.logs_in(again))
