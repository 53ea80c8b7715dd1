"""The first run: what it prints works as it is printed, and is not printed again."""

import contextlib
import re
import signal
import stat
import time
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import ask, basic, command
from tests.live.clients import client
from tests.live.isolation import run, works
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

ADVICE: Final = "write sql into [access] backend"


class FirstRunTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = scratch()
        self.folder = made.__enter__()
        self.addCleanup(made.__exit__, None, None, None)

    def pypid(self, number: int, read: str = "everyone") -> Running:
        """A run without any user, the daemon of which ends with the test."""
        self.port = free_port()
        config = self.folder / "pypid.ini"
        config.write_text(
            f"[server]\nlisten = tcp:{self.port}:interface=127.0.0.1\nstate = "
            f"state\n[access]\nread = {read}\n"
        )
        command = [BIN / "twistd", "--nodaemon", "--pidfile=", "pypid", "--config", config]
        manager = running(
            command, self.folder / f"log-{number}", cwd=self.folder, environ=clean_environ()
        )
        process = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        process.until_answers(f"http://127.0.0.1:{self.port}/health")
        return process

    def commands(self, text: str) -> list[str]:
        """The commands of the greeting, as they are printed."""
        return re.findall(r"^    ((?:twine|uv|pip) .*)$", text, re.MULTILINE)

    def check(self, read: str) -> None:
        """Each printed command works in a shell; the password is in the output of the first run and
        nowhere else.
        """
        first = self.pypid(1, read)
        (password,) = re.findall(r"^    password  (\S+)$", first.output(), re.MULTILINE)
        commands = self.commands(first.output())
        self.assertEqual([command.split()[0] for command in commands], ["twine", "uv", "pip", "uv"])
        path = ":".join(
            [*(str(client(name).parent) for name in ("twine", "uv", NEWEST)), "/usr/bin", "/bin"]
        )
        works(
            [client(NEWEST).with_name("python"), "-m", "venv", "--without-pip", "venv"], self.folder
        )
        for number, (publish, install) in enumerate(zip(commands[:2], commands[2:], strict=True)):
            project = f"first-{number}"
            dist = self.folder / f"work-{number}"
            wheel(project).into(dist / "dist")
            works(["/bin/sh", "-c", publish], self.folder, cwd=dist, PATH=path)
            line = install.replace("PROJECT", project)
            environment = {
                "PATH": path,
                "PIP_TARGET": str(dist / "t"),
                "VIRTUAL_ENV": str(self.folder / "venv"),
            }
            works(["/bin/sh", "-c", line], self.folder, cwd=dist, **environment)
        self.assertTrue((self.folder / "work-0/t/first_0.py").exists())
        (site,) = (self.folder / "venv/lib").glob("python3*/site-packages")
        self.assertEqual(installed(site), {"first_1-1.0"})
        self.assertIn(
            '"GET /packages/first-0/first_0-1.0-py2.py3-none-any.whl HTTP/1.1" 200', first.output()
        )
        self.assertEqual(first.output().count(password), 3 if read == "everyone" else 5)
        self.assert_hidden(password)
        first.stop()

        second = self.pypid(2, read)
        self.assertEqual(self.commands(second.output()), [])
        self.assertNotIn("password", second.output())
        ended = run(
            ["/bin/sh", "-c", commands[0].replace(str(first_port(commands[0])), str(self.port))],
            self.folder / "work-0",
            PATH=path,
        )
        self.assertEqual(ended.status, 0, ended.said)  # the password is still the same

    def assert_hidden(self, password: str) -> None:
        """Only a hash is kept, where only the owner may look."""
        state = self.folder / "state"
        self.assertEqual(stat.S_IMODE(state.stat().st_mode), 0o700)
        for path in files_below(state):
            with contextlib.suppress(FileNotFoundError):  # a temporary file of the running server
                self.assertNotIn(password.encode(), path.read_bytes(), path)
        record = state / "admin.json"
        self.assertEqual(stat.S_IMODE(record.stat().st_mode), 0o600)
        self.assertIn("$argon2id$", record.read_text())

    def test_open(self) -> None:
        """Where all may read: the four commands work as printed; a second start prints nothing;
        only the hash is kept.
        """
        self.check("everyone")

    def test_closed(self) -> None:
        """Where only users may read: the same, and the commands to install hold
        the password too.
        """
        self.check("authenticated")


class MoreUsersTests(SynchronousTestCase):
    """What the first run says of more users, by somebody who has read nothing else."""

    def test_whole(self) -> None:
        """Whoever adds users before sql is listed is told by each command, also after a reload,
        that they cannot log in; with sql listed and a new start they can, and nothing of what was
        made before is lost.
        """
        folder, port = self.enterContext(scratch()), free_port()
        config = folder / "pypid.ini"
        lines = (
            f"[server]\nlisten = tcp:{port}:interface=127.0.0.1\nstate = state\n[upstream]\nmode "
            f"= offline\n"
        )
        config.write_text(lines)
        start = [BIN / "twistd", "--nodaemon", "--pidfile=", "pypid", "--config", config]
        add = ("user", "add", "dora", "--admin")
        with running(start, folder / "log", cwd=folder, environ=clean_environ()) as first:
            first.until_answers(f"http://127.0.0.1:{port}/health")
            greeting = " ".join(first.output().split())
            self.assertIn("`backend = config sql`", greeting)
            self.assertIn("`pypid user add NAME`", greeting)
            said = command(config, *add)
            (password,) = re.findall(r"^password: (\S+)$", said, re.MULTILINE)
            self.assertIn(ADVICE, said)
            self.assertEqual(ask(port, "/simple/", basic("dora", password)).status, 401)
            self.assertIn(ADVICE, command(config, "user", "list"))
            config.write_text(lines + "[access]\nbackend = config sql\n")
            first.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while "backend" not in first.output().partition("read again")[2]:
                self.assertLess(time.monotonic(), deadline, first.output())
                time.sleep(0.05)
            self.assertIn(ADVICE, command(config, "user", "show", "dora"))
            first.stop()
        with running(start, folder / "log2", cwd=folder, environ=clean_environ()) as second:
            second.until_answers(f"http://127.0.0.1:{port}/health")
            self.assertNotIn("first run", second.output())
            self.assertEqual(ask(port, "/api/users", basic("dora", password)).status, 200)
            said = command(config, "user", "list")
            self.assertNotIn(ADVICE, said)
            self.assertIn("2 users", said)
            second.stop()


def first_port(command: str) -> int:
    """The port in a command's URL."""
    found = re.search(r"127\.0\.0\.1:(\d+)/", command)
    assert found is not None, command
    return int(found[1])
