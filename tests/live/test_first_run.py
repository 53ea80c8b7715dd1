"""The first run: what it prints works as it is printed, and is not printed again."""

import contextlib
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import ask, basic
from tests.live.clients import client
from tests.live.isolation import works
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
