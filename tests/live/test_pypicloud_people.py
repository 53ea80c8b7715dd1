"""A real pypicloud's people, and what becomes of them when pypid takes over."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import psycopg
from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.pypicloud import read_people
from tests.database.test_pypicloud_people import PEOPLE, RIGHTS, TABLES
from tests.live.clients import client
from tests.live.postgresql import shared
from tests.live.processes import BIN, Running, clean_environ, done, free_port, running, scratch
from tests.live.pypicloud import Pypicloud, configuration, pypicloud

PASSWORD: Final = "a password of some length"
SQL: Final = {
    "pypi.auth": "sql",
    "pypi.fallback": "none",
    "auth.scheme": "pbkdf2_sha256",
    "auth.rounds": "1000",
    "pypi.allow_delete_groups": "devs",
}


@frozen
class Step:
    """A request, and by whom."""

    method: str
    path: str
    said: dict[str, str] | None = None
    by: str | None = "root"


def asked(base: str, step: Step) -> tuple[int, Any]:
    """Status and document (of pypicloud's own answers, and only where there is JSON) of what it is
    answered.
    """
    headers = {"Accept": "*/*"}
    if step.by is not None:
        headers["Authorization"] = "Basic " + b64encode(f"{step.by}:{PASSWORD}".encode()).decode()
    data = None if step.said is None else urlencode(step.said).encode()
    request = Request(base + step.path, data, headers, method=step.method)
    try:
        with urlopen(request, timeout=30) as response:
            status, body = response.status, response.read()
    except HTTPError as error:
        status, body = error.code, error.read()
    if step.method == "GET" and status == 200 and body[:1] in (b"[", b"{", b"n"):
        return status, _sorted(json.loads(body))
    return status, None


def _sorted(document: Any) -> Any:
    """Lists have no order that somebody may rely on."""
    if isinstance(document, dict):
        return {key: _sorted(value) for key, value in document.items()}
    return (
        sorted(map(_sorted, document), key=json.dumps) if isinstance(document, list) else document
    )


def begun(found: Pypicloud) -> None:
    """The first who registers is the administrator ``root``, who lets people register."""
    for step in (
        Step("PUT", "/api/user/root", {"password": PASSWORD}, by=None),
        Step("POST", "/admin/register", {"allow": "true"}),
    ):
        assert asked(found.url(""), step)[0] == 200, step


@cache
def made_by_pypicloud() -> tuple[bytes, bytes]:
    """Its database: as it made it, and with people and rights."""
    with scratch() as folder:
        path = folder / "auth.db"
        with pypicloud(folder, {**SQL, "auth.db.url": f"sqlite:///{path}"}) as found:
            empty = path.read_bytes()
            begun(found)
            for step in FILLING:
                assert asked(found.url(""), step)[0] == 200, step
        return empty, path.read_bytes()


FILLING: Final = (
    Step("PUT", "/admin/user/ann", {"password": PASSWORD}),
    Step("PUT", "/api/user/dan", {"password": PASSWORD}, by=None),
    Step("PUT", "/admin/group/devs"),
    Step("PUT", "/admin/user/ann/group/devs"),
    Step("PUT", "/admin/package/Foo/group/devs/read"),
    Step("PUT", "/admin/package/foo/group/devs/read"),
    Step("PUT", "/admin/package/foo/group/devs/write"),
    Step("PUT", "/admin/package/bar/user/ann/write"),
    Step("PUT", "/admin/package/bar/group/everyone/read"),
    Step("PUT", "/admin/package/closed/user/ann/write"),
)


class TakenOverTests(SynchronousTestCase):
    """A pypicloud whose people lie in a database."""

    def setUp(self) -> None:
        client("pypicloud")
        self.folder = Path(self.enterContext(scratch()))
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"

    def settings(self, name: str = "auth.db") -> dict[str, str]:
        """With a database of this name."""
        return {**SQL, "auth.db.url": f"sqlite:///{self.folder}/{name}"}

    def pypid(self, **more: str) -> AbstractContextManager[Running]:
        """pypid, in the place of the pypicloud, with its own ini."""
        ini = self.folder / "config.ini"
        ini.write_text(configuration(self.folder, self.port, self.settings()))
        environ = clean_environ(PYPID_SERVER_STATE=str(self.folder / "state"), **more)
        command = [BIN / "pypid", "serve", "--config", ini]
        return running(command, self.folder / "pypid.log", cwd=self.folder, environ=environ)

    def up(self, process: Running) -> None:
        """It answers."""
        process.until_answers(f"{self.base}/health")

    def ours(self, *steps: Step) -> list[tuple[int, Any]]:
        """What it answers."""
        return [asked(self.base, step) for step in steps]

    def users(self) -> dict[str, str]:
        """Its users, with their status."""
        document = self.ours(Step("GET", "/api/users"))[0][1]
        return {user["name"]: user["status"] for user in document["users"]}

    def rights(self, project: str) -> list[tuple[str, str, str]]:
        """The rights of a project's own."""
        document = self.ours(Step("GET", f"/api/projects/{project}/rights"))[0][1]
        return [(right["kind"], right["name"], right["right"]) for right in document["rights"]]

    def fill(self) -> None:
        """People with rights, in a pypicloud's database."""
        (self.folder / "auth.db").write_bytes(made_by_pypicloud()[1])

    def test_first_start(self) -> None:
        """pypid started on the ini of a pypicloud has its people, with passwords, groups and
        rights; the log says what it took over and what not; pypicloud's database stays as it is,
        and is never looked at again.
        """
        self.fill()
        database = self.folder / "auth.db"
        before = database.read_bytes(), database.stat().st_mtime_ns
        with self.pypid() as process:
            self.up(process)
            self.assertEqual(self.users(), {"ann": "active", "dan": "pending", "root": "active"})
            self.assertEqual(self.rights("foo"), [("group", "devs", "rw")])
            self.assertIn(("user", "ann", "rw"), self.rights("bar"))
            self.assertEqual(self.rights("closed"), [("group", "kept-closed", "r")])
            self.assertEqual(self.ours(Step("GET", "/api/users", by="ann"))[0][0], 403)
            process.stop()
        log = process.output()
        for said in (
            "Users: 3 (administrators: 1, waiting for approval: 1)",
            "user ann may write closed and not read it",
            "'Foo', 'foo'",
        ):
            self.assertIn(said, log)
        self.assertNotIn("This is the first run", log)
        self.assertEqual((database.read_bytes(), database.stat().st_mtime_ns), before)
        database.unlink()
        with self.pypid() as process:
            self.up(process)
            self.assertEqual(self.ours(Step("DELETE", "/api/users/ann"))[0][0], 200)
            process.stop()
        self.assertNotIn("wait for approval", process.output())
        self.assertNotIn("This is the first run", process.output())

    def test_dump(self) -> None:
        """What ppc-export prints is taken over by `pypid user import`; a second time changes
        nothing.
        """
        self.fill()
        there = client("pypicloud").parent
        (self.folder / "config.ini").write_text(
            configuration(self.folder, self.port, self.settings())
        )
        with (self.folder / "acl.json").open("wb") as dump:  # its -o writes nothing on Python 3
            subprocess.run(
                [there / "ppc-export", "config.ini"],
                stdout=dump,
                cwd=self.folder,
                check=True,
                timeout=120,
            )
        ini = self.folder / "pypid.ini"
        ini.write_text("[server]\nstate = other\n[access]\nbackend = config sql\n")
        said = done(
            [BIN / "pypid", "user", "import", "-c", ini, "-i", self.folder / "acl.json"], status=1
        )
        self.assertIn("added: 3 users, 2 groups, 1 member, 3 rights", said)
        for name in ("bar", "closed"):  # that everyone may read bar it leaves out
            self.assertIn(f"LOST: user ann may write {name}", said)
        self.assertIn("pypicloud leaves out of its dump what it gave to everyone", said)
        with (self.folder / "acl.json").open("rb") as dump:
            again = done_with(dump, [BIN / "pypid", "user", "import", "-c", ini])
        self.assertIn("added: 0 users, 0 groups, 0 members, 0 rights", again)


def done_with(stdin: Any, command: list[Any]) -> str:
    """What a command prints that reads this, and ends with 1."""
    ended = subprocess.run(
        command,
        stdin=stdin,
        capture_output=True,
        text=True,
        env=clean_environ(),
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1, ended
    return ended.stdout


class PostgresqlTests(SynchronousTestCase):
    """Of a pypicloud whose people lie in a PostgreSQL."""

    def test_read(self) -> None:
        """They are read as those of a file are, by pypicloud's own URL, and nothing is written."""
        server = shared()
        url = server.database()
        script = (
            (TABLES + PEOPLE)
            .replace("1, 0", "true, false")
            .replace("0, 0", "false, false")
            .replace("0, 1", "false, true")
        )
        script = script.replace("1, 1", "true, true").replace("1, NULL", "true, NULL")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(script.encode())
            before = connection.execute(
                "SELECT xmin, username FROM pypicloud_users ORDER BY username"
            ).fetchall()
        with psycopg.connect(url) as connection:
            connection.execute("DELETE FROM pypicloud_users")
            for driver in ("postgresql", "postgresql+psycopg2", "postgres"):
                found = read_people(driver + url[len("postgresql") :], Path())
                assert found is not None
                self.assertEqual([user.name for user in found.dump.users], ["ada", "bob", "carol"])
                self.assertEqual(found.dump.rights, RIGHTS)
            connection.rollback()
            after = connection.execute(
                "SELECT xmin, username FROM pypicloud_users ORDER BY username"
            ).fetchall()
        self.assertEqual(after, before)
