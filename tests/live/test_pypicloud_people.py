"""A real pypicloud's people: what its API and ours answer to the same requests, and what becomes of
them when pypid takes over.

The same script of an administrator's life is sent to both; where we answer otherwise the step says
how, and why.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
from base64 import b64encode
from contextlib import AbstractContextManager, closing
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import psycopg
from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.passwords import PasswordVerdict, verify
from pypid.access.sql.pypicloud_people import read_people
from pypid.core.errors import CannotStart
from tests.access.sql.test_pypicloud_people import PEOPLE, RIGHTS, TABLES
from tests.live.clients import client
from tests.live.postgresql import PASSWORD as DATABASE_PASSWORD
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

# Why an answer is another one. Each stands in docs/migrate/pypicloud-people.rst.
NO_500: Final = "what cannot be done is refused with the reason, and never 500"
SAID: Final = "what was to be changed and is not there is told, and not swallowed"
METHODS: Final = "a method that an address does not take is 405"
HARMLESS: Final = "what changes something is not done by GET"
IN_THE_FILE: Final = "whether people may register, the configuration says"
WRITERS_READ: Final = "whoever may write may read"


@frozen
class Step:
    """A request, by whom, and the answer of ours where it is not pypicloud's, and why."""

    method: str
    path: str
    said: dict[str, str] | None = None
    by: str | None = "root"
    ours: int | None = None
    why: str = ""


STEPS: Final = (
    Step("GET", "/admin/user"),
    Step("GET", "/admin/user", by=None),
    Step("GET", "/admin/pending_users/"),
    Step("PUT", "/api/user/ann", {"password": PASSWORD}, by=None),
    Step("PUT", "/api/user/ann", {"password": PASSWORD}, by=None),
    Step("PUT", "/api/user/ann", by=None),
    Step("PUT", "/acct/login", {"username": "dan", "password": PASSWORD}, by=None),
    Step("GET", "/admin/pending_users"),
    Step("GET", "/admin/user/ann"),
    Step("POST", "/admin/user/ann/approve"),
    Step("GET", "/admin/user/ann"),
    Step("GET", "/admin/user/ann", by="ann"),
    Step("GET", "/admin/nothing", ours=404),
    Step("PUT", "/admin/user/carol", {"password": PASSWORD}),
    Step("PUT", "/admin/user/carol", {"password": PASSWORD}, ours=409, why=NO_500),
    Step("PUT", "/admin/user/eve"),
    Step("POST", "/admin/user/nobody-there/approve", ours=404, why=SAID),
    Step("DELETE", "/admin/user/nobody-there"),
    Step("POST", "/admin/user/carol/admin"),
    Step("PUT", "/admin/group/devs"),
    Step("PUT", "/admin/group/devs", ours=409, why=NO_500),
    Step("PUT", "/admin/group/everyone"),
    Step("PUT", "/admin/group/authenticated"),
    Step("PUT", "/admin/user/ann/group/devs"),
    Step("PUT", "/admin/user/ann/group/none", ours=404, why=SAID),
    Step("DELETE", "/admin/user/ann/group/none"),
    Step("DELETE", "/admin/user/carol/group/devs", ours=200, why=NO_500),
    Step("GET", "/admin/group/"),
    Step("GET", "/admin/group/devs"),
    Step("GET", "/admin/group/none"),
    Step("PUT", "/admin/package/foo/user/ann/write", ours=409, why=WRITERS_READ),
    Step("PUT", "/admin/package/foo/user/ann/read"),
    Step("PUT", "/admin/package/foo/user/ann/write"),
    Step("PUT", "/admin/package/foo/group/devs/read"),
    Step("PUT", "/admin/package/foo/group/everyone/read"),
    Step("PUT", "/admin/package/foo/group/devs/other", ours=400, why=SAID),
    Step("GET", "/admin/package/foo"),
    Step("GET", "/admin/package/none"),
    Step("GET", "/admin/user/ann"),
    Step("GET", "/admin/user/ann/permissions"),
    Step("GET", "/admin/user/nobody-there/permissions"),
    Step("DELETE", "/admin/package/foo/user/ann/write"),
    Step("DELETE", "/admin/package/foo/user/ann/write"),
    Step("GET", "/admin/package/foo"),
    Step("DELETE", "/admin/group/none"),
    Step("GET", "/admin/register", ours=405, why=METHODS),
    Step("POST", "/admin/register", {"allow": "true"}),
    Step("GET", "/admin/rebuild", ours=405, why=HARMLESS),
    Step("POST", "/admin/rebuild"),
    Step("GET", "/acct/logout", ours=405, why=HARMLESS),
    Step("POST", "/acct/login", {"username": "ann", "password": PASSWORD}, by=None),
    Step("POST", "/acct/login", {"username": "ann", "password": "wrong"}, by=None),
    Step("POST", "/acct/login", {"username": "ann"}, by=None),
    Step("GET", "/acct/login", by=None),
    Step(
        "POST",
        "/api/user/password",
        {"old_password": "wrong", "new_password": "another long one"},
        by="ann",
    ),
    Step("POST", "/api/user/password", {"old_password": PASSWORD}, by="ann"),
    Step(
        "POST",
        "/api/user/password",
        {"old_password": PASSWORD, "new_password": PASSWORD + "!"},
        by=None,
    ),
    Step(
        "POST", "/api/user/password", {"old_password": PASSWORD, "new_password": PASSWORD}, by="ann"
    ),
    Step(
        "PUT",
        "/acct/tokenRegister",
        {"token": "x", "password": PASSWORD},
        by=None,
        ours=403,
        why=NO_500,
    ),
    Step("GET", "/admin/token/zoe", ours=400, why=NO_500),
    Step("DELETE", "/admin/group/devs"),
    Step("DELETE", "/admin/user/carol"),
    Step("GET", "/admin/user"),
    Step("PUT", "/api/user/carol2", {"password": PASSWORD}, by=None),
)


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

    def test_same_answers(self) -> None:
        """The script of an administrator's life is answered alike, with the exceptions that its
        steps name.
        """
        with pypicloud(self.folder, self.settings()) as found:
            begun(found)
            before = (self.folder / "auth.db").read_bytes()
            theirs = [asked(found.url(""), step) for step in STEPS]
        (self.folder / "auth.db").write_bytes(before)
        with self.pypid(PYPID_ACCESS_REGISTRATION="approval") as process:
            self.up(process)
            ours = self.ours(*STEPS)
        wrong = []
        for step, their, our in zip(STEPS, theirs, ours, strict=True):
            expected = step.ours or their[0]
            if our[0] != expected:
                wrong.append(
                    f"{step.method} {step.path}: {our[0]} and not {expected} (there {their[0]})"
                )
            elif step.ours and step.ours == their[0] and step.why:
                wrong.append(f"{step.method} {step.path}: they answer {their[0]}, too")
            elif not step.ours and our[1] != their[1]:
                wrong.append(f"{step.method} {step.path}: {our[1]} and not {their[1]}")
        self.assertEqual(wrong, [], "\n".join(["", *wrong]))

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
            users = [{"username": "ann", "admin": False}, {"username": "root", "admin": True}]
            self.assertEqual(self.ours(Step("GET", "/admin/user"))[0][1], _sorted(users))
            self.assertEqual(self.ours(Step("GET", "/admin/pending_users"))[0][1], ["dan"])
            [(_, foo), (_, bar), (_, closed)] = self.ours(
                *(Step("GET", f"/admin/package/{name}") for name in ("foo", "bar", "closed"))
            )
            self.assertEqual(
                foo, {"user": [], "group": [{"group": "devs", "permissions": ["read", "write"]}]}
            )
            self.assertEqual(bar["user"], [{"username": "ann", "permissions": ["read", "write"]}])
            self.assertEqual(
                closed, {"user": [], "group": [{"group": "kept-closed", "permissions": ["read"]}]}
            )
            self.assertEqual(self.ours(Step("GET", "/admin/user", by="ann"))[0][0], 403)
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
            self.assertEqual(self.ours(Step("DELETE", "/admin/user/ann")), [(200, None)])
            process.stop()
        self.assertNotIn("wait for approval", process.output())
        self.assertNotIn("This is the first run", process.output())

    def test_cannot_be_read(self) -> None:
        """Without pypicloud's database the first start breaks off with what to do, and leaves
        nobody in ours.
        """
        self.fill()
        (self.folder / "auth.db").rename(self.folder / "elsewhere.db")
        with self.pypid() as process:
            self.assertNotEqual(process.process.wait(60), 0)
        self.assertIn("ppc-export", process.output())
        self.assertNotIn("Traceback", process.output())
        (self.folder / "elsewhere.db").rename(self.folder / "auth.db")
        with self.pypid() as process:
            self.up(process)
            self.assertEqual(len(self.ours(Step("GET", "/admin/user"))[0][1]), 2)

    def test_first_admin(self) -> None:
        """Where pypicloud had nobody who administers it the first run makes its
        admin, and greets.
        """
        (self.folder / "auth.db").write_bytes(made_by_pypicloud()[0])
        with self.pypid() as process:
            self.up(process)
            process.stop()
        self.assertIn("This is the first run", process.output())

    def test_dump_and_back(self) -> None:
        """What ppc-export prints is taken over by `pypid acl import`, and what `pypid acl export`
        writes by ppc-import.
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
            [BIN / "pypid", "acl", "import", "-c", ini, "-i", self.folder / "acl.json"], status=1
        )
        self.assertIn("added: 3 users, 2 groups, 1 member, 3 rights", said)
        for name in ("bar", "closed"):  # that everyone may read bar it leaves out
            self.assertIn(f"LOST: user ann may write {name}", said)
        self.assertIn("pypicloud leaves out of its dump what it gave to everyone", said)
        with (self.folder / "acl.json").open("rb") as dump:
            again = done_with(dump, [BIN / "pypid", "acl", "import", "-c", ini])
        self.assertIn("added: 0 users, 0 groups, 0 members, 0 rights", again)
        done([BIN / "pypid", "acl", "export", "-c", ini, "-o", self.folder / "back.json.gz"])
        other = self.folder / "back.ini"
        other.write_text(configuration(self.folder, self.port, self.settings("back.db")))
        done([there / "ppc-import", "-i", "back.json.gz", "back.ini"], cwd=self.folder)
        with closing(sqlite3.connect(self.folder / "back.db")) as back:
            users = back.execute(
                "SELECT username, password, admin, pending FROM pypicloud_users ORDER BY username"
            ).fetchall()
            rights = back.execute(
                "SELECT package, groupname, read, write FROM pypicloud_group_permissions"
            ).fetchall()
        self.assertEqual(
            [(name, *flags) for name, _, *flags in users],
            [("ann", 0, 0), ("dan", 0, 1), ("root", 1, 0)],
        )
        self.assertTrue(
            all(verify(hash, PASSWORD) is PasswordVerdict.RIGHT for _, hash, *_ in users)
        )
        self.assertIn(("foo", "devs", 1, 1), rights)


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

    def test_away(self) -> None:
        """One that does not answer, or is no pypicloud's, stops the start; its password is not
        told.
        """
        server = shared()
        for url in (server.database(), server.url().replace(str(server.port), str(free_port()))):
            error = self.assertRaises(CannotStart, read_people, url, Path())
            self.assertNotIn(DATABASE_PASSWORD, str(error))
            self.assertIn("ppc-export", str(error))
