"""One table: what is lost, by storage and accounts database. Nothing that rights closed is open
afterwards, to any other client, nor does its name go upstream.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import atexit
import functools
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen
from twisted.trial.unittest import SynchronousTestCase

from pypid.jobs.backup.copies import EVERY
from tests.live.asking import ask, basic, bearer
from tests.live.daemon import LiveIndex, Settings, configuration, pypid
from tests.live.gauntlet.tally import FULL, Tally
from tests.live.gauntlet.upstream import serving
from tests.live.nodes import publish
from tests.live.postgresql import Postgresql, postgresql
from tests.live.processes import BIN, done, free_port, scratch
from tests.live.projects import wheel
from tests.live.stores import store

ADMIN: Final = basic("admin")
STRANGERS: Final[tuple[tuple[dict[str, str], tuple[int, ...]], ...]] = (
    ({}, (401, 503)),
    (basic("carol"), (403, 404, 503)),
)
"""An anonymous client, and a user who may publish by default; with the refusals."""
PAGES: Final = (
    "/simple/{}/",
    "/local/{}/",
    "/pypi/{}/json",
    "/pypi/{}/1.0/json",
    "/packages/{}/{file}",
    "/packages/{}/{file}.metadata",
    "/api/projects/{}",
)
LISTS: Final = ("/simple/", "/local/", "/api/projects", "/search?q=up", "/api/search?q=up")
WHOM: Final = {
    "right": "user/alice",
    "user": "user/dora",
    "group": "group/devs",
    "owner": "user/eve",
    "kept": "user/alice",
}
"""The only principal with a right on a project, by what is removed: all but `kept`."""
NAMES: Final = tuple(f"up-{what}-{kind}" for kind in WHOM for what in ("secret", "claim"))
"""Closed projects, and names of which nothing is published; upstream has them all."""
FIRST: Final = "first-published"
"""A project without rights that alice owns, since her first upload, which is later than a backup."""
OLDER: Final = "older"
"""The folder of a backup from before the first right."""
CUT_WITHIN: Final = 5.5
"""Seconds until a node without its database has closed what has rights: 5, and a look."""


@frozen
class Place:
    """A storage and a database. `database` and `bucket`: lines of the configuration."""

    name: str
    stack: ExitStack
    heard: list[str]
    upstream: str
    folder: Path
    database: str
    bucket: str = ""
    storage: Path | None = None
    secret: str = field(factory=lambda: "s" * 40)

    @property
    def settings(self) -> Settings:
        return Settings(
            access="backend = config sql\nowners = uploader",
            sections=f"[database]\n{self.database}\n" if self.database else "",
            bucket=self.bucket,
            storage=self.storage,
            server=f"secret = {self.secret}" if self.secret else "",
            upstream=f"url = {self.upstream}\nmode = cache",
        )

    @property
    def accounts(self) -> Path:
        return self.folder / "state/accounts.db"

    def elsewhere(self) -> Place:
        """The same storage and database, with a new configuration and state folder."""
        return evolve(self, folder=self.stack.enter_context(scratch()))

    def run(self, *words: str | Path, status: int = 0) -> str:
        """What a command prints, with the configuration of this place."""
        config = self.folder / "pypid.ini"
        config.write_text(configuration(self.folder, free_port(), self.settings))
        return done([BIN / "pypid", *words, "-c", config], cwd=self.folder, status=status)

    def copy(self, name: str) -> Path:
        """A consistent copy of the SQLite database."""
        copy = self.folder / name
        copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.accounts)) as connection:
            connection.execute("VACUUM INTO ?", [str(copy)])
        return copy

    def replace(self, content: Path | None) -> None:
        """Put another file, or an empty one, in the place of the SQLite database."""
        for file in self.accounts.parent.glob(f"{self.accounts.name}*"):
            file.unlink()
        if content is None:
            self.accounts.touch(mode=0o600)
        else:
            shutil.copy(content, self.accounts)


@functools.cache
def server() -> Postgresql:
    """The one of these tests, which they cut off; ends with the process."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(postgresql())


def new_database() -> str:
    """The URL of a new one; a test that failed may have left the server stopped."""
    running = server().running
    if running is None or running.process.poll() is not None:
        server().start()
    return server().database()


def schema_of(place: Place) -> str:
    """The name of the PostgreSQL schema that has the accounts."""
    return place.database.rpartition("%3D")[2].strip()


def run_postgresql(program: str, *words: str | Path) -> None:
    """Run a client program of PostgreSQL."""
    done([server().bin / program, *words], cwd=server().folder)


def does(index: LiveIndex, method: str, path: str, document: Any = None) -> Any:
    """What the API answers an administrator."""
    answer = ask(index.port, path, ADMIN, method=method, document=document)
    assert answer.status in (200, 201), (method, path, answer)
    return answer.json


def close(index: LiveIndex, name: str, whom: str) -> None:
    """Publish a project, after a right has closed it."""
    does(index, "PUT", f"/api/projects/{name}/rights/{whom}", {"right": "rw"})
    artifact = wheel(name)
    assert publish(index.port, artifact.filename, artifact.data, "admin").status == 200


def begin(index: LiveIndex) -> None:
    """Users, a group, a project with an owner, and an open one; no rights."""
    for name in ("dora", "eve"):
        does(index, "POST", "/api/users", {"name": name})
    does(index, "POST", "/api/groups", {"name": "devs"})
    for name in ("up-owned", "open"):
        artifact = wheel(name)
        assert publish(index.port, artifact.filename, artifact.data, "admin").status == 200
    does(index, "PUT", "/api/projects/up-owned/owner", {"user": "eve"})


def publish_first(index: LiveIndex) -> None:
    """Have alice publish a project that she owns by this."""
    artifact = wheel(FIRST)
    assert publish(index.port, artifact.filename, artifact.data, "alice").status == 200


def fill(index: LiveIndex) -> dict[str, str]:
    """For each kind of right a closed project, and a name of which nothing is published. Return the
    header of a token of alice.
    """
    for kind, principal in WHOM.items():
        close(index, f"up-secret-{kind}", principal)
        does(index, "PUT", f"/api/projects/up-claim-{kind}/rights/{principal}", {"right": "rw"})
    publish_first(index)
    wanted = {"name": "ci", "user": "alice", "actions": ["read"]}
    return bearer(does(index, "POST", "/api/tokens", wanted)["secret"])


def lose(index: LiveIndex, kind: str) -> None:
    """Remove what closed a project: by the API, while pypid runs."""
    if kind == "right":
        for name in ("up-secret-right", "up-claim-right"):
            does(index, "DELETE", f"/api/projects/{name}/rights/user/alice")
    else:
        path = {"user": "users/dora", "group": "groups/devs", "owner": "users/eve"}[kind]
        does(index, "DELETE", f"/api/{path}")


LEFT_TO_ADMINS: Final = "Only administrators can use these projects now"


def open_things(index: LiveIndex, heard: list[str], *, few: bool = False) -> list[str]:
    """What strangers see, or may do, that is closed; and what upstream was asked. `few`: with the
    first projects and pages, as answers take two seconds."""
    found = []
    names, pages = (NAMES[:2], PAGES[:3]) if few else (NAMES, PAGES)
    for who, refusals in STRANGERS:
        for name in names:
            file = wheel(name).filename
            for path in (each.format(name, file=file) for each in pages):
                answer = ask(index.port, path, who)
                if answer.status not in refusals:
                    found.append(f"{path}: {answer.status} {answer.body[:80]!r}")
        for path in LISTS:
            answer = ask(index.port, path, who)
            found += [f"{path} shows {each}" for each in NAMES if each in answer.text]
            if answer.status not in (200, 503):
                found.append(f"{path}: {answer.status}")
    for name in (*names, "up-owned", FIRST):
        artifact = wheel(name, "9.0")
        answer = publish(index.port, artifact.filename, artifact.data, "carol")
        if answer.status not in (403, 503):
            found.append(f"carol publishes {name}: {answer.status}")
    private = [path for path in heard if any(name in path for name in (*NAMES, "up-owned"))]
    return found + [f"upstream was asked for {path}" for path in private]


def sqlite_emptied(place: Place) -> Place:
    place.replace(None)
    return place


def of_another(place: Place) -> Place:
    """The accounts of another pypid, which has rights of its own."""
    own = place.elsewhere()
    other = evolve(own, storage=own.folder / "other", bucket="")
    if place.database:
        other = evolve(other, database=f"url = {server().database()}")
    with pypid(other.folder, other.settings) as index:
        does(index, "PUT", "/api/projects/other/rights/user/alice", {"right": "r"})
    if place.database:
        return evolve(place, database=other.database)
    place.replace(other.copy("copy"))
    return place


def restored(place: Place) -> Place:
    """The accounts of a backup that is older than all rights."""
    older = place.folder / OLDER
    if place.accounts.exists():
        place.replace(older / "accounts.db")
    else:
        run_postgresql("pg_restore", "--clean", f"--dbname={server().url()}", older / "dump")
    return place


def tables_dropped(place: Place) -> Place:
    schema = schema_of(place)
    with server().connect() as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    return place


def without_secret(place: Place) -> Place:
    return evolve(place.elsewhere(), secret="")


Loss = Callable[[Place], Place]
LOSSES: Final[dict[str, list[tuple[str, bool, Loss]]]] = {
    "folder sqlite": [
        ("a new machine or state folder", False, Place.elsewhere),
        ("restored from an older copy", True, restored),
        ("another pypid's accounts", False, of_another),
        ("emptied accounts", False, sqlite_emptied),
    ],
    "bucket sqlite": [
        ("a new machine", True, Place.elsewhere),
        ("a new machine without the secret", False, without_secret),
        ("restored from an older copy", True, restored),
        ("another pypid's accounts", False, of_another),
        ("emptied accounts", False, sqlite_emptied),
    ],
    "folder postgresql": [
        ("a new machine or state folder", True, Place.elsewhere),
        ("restored from an older copy", True, restored),
        ("another pypid's accounts", False, of_another),
        ("emptied accounts", False, tables_dropped),
    ],
    "bucket postgresql": [
        ("a new machine", True, Place.elsewhere),
        ("restored from an older copy", True, restored),
        ("another pypid's accounts", False, of_another),
        ("emptied accounts", False, tables_dropped),
    ],
}
"""What is lost while pypid is stopped, by storage and database; whether pypid starts then. Each
loss is one of its own: the accounts are put back before the next one."""


class NothingOpensTests(SynchronousTestCase):
    """Each place has closed projects, claimed names, a project with an owner and an open one."""

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)

    def place(self, name: str) -> Place:
        """A new one of that name."""
        heard: list[str] = []
        folder = self.stack.enter_context(scratch())
        lines = {}
        if "bucket" in name:
            s3 = self.stack.enter_context(store())
            lines = {
                "bucket": f"backend = s3\nbucket = {s3.bucket('closed')}\nregion = {s3.region}\n"
                f"endpoint_url = {s3.endpoint}\naccess_key = {s3.access_key}\n"
                f"secret_key = {s3.secret_key}\n"
            }
        database = f"url = {new_database()}" if "postgresql" in name else ""
        upstream = self.stack.enter_context(serving(heard))
        storage = None if lines else folder / "storage"
        return Place(name, self.stack, heard, upstream, folder, database, storage=storage, **lines)

    def check(self, place: Place, index: LiveIndex, what: str, *, few: bool = False) -> None:
        """Nothing has opened; the administrator has all, and everyone what is open."""
        self.tally.trial(what, *open_things(index, place.heard, few=few))
        for path in ("/simple/up-secret-kept/", "/simple/up-owned/"):
            self.assertEqual(ask(index.port, path, ADMIN).status, 200)
        for path in ("/simple/open/", "/simple/up-other/"):
            self.assertEqual(ask(index.port, path).status, 200)
        self.assertTrue(any("up-other" in path for path in place.heard))

    def check_cut_off(self, place: Place, index: LiveIndex) -> None:
        """Without its database a node closes what has rights, is not ready, and goes on."""
        with server().frozen():
            began = time.monotonic()
            while ask(index.port, "/simple/up-secret-kept/").status != 503:
                self.assertLess(time.monotonic() - began, CUT_WITHIN)
                time.sleep(0.1)
            self.assertEqual(ask(index.port, "/ready").status, 503)
            self.check(place, index, "cut off", few=True)

    def check_cut_off_at_the_start(self, place: Place, token: dict[str, str]) -> None:
        """A node that never read the rights shows nothing, until it has read them."""
        server().stop("fast")
        with pypid(place.folder, place.settings) as index:
            for path in ("/simple/open/", "/simple/up-other/", "/simple/"):
                for who in ({}, basic("carol"), basic("alice"), token):
                    answer = ask(index.port, path, who)
                    self.assertEqual(answer.status, 503)
                    self.assertGreaterEqual(int(answer.headers["Retry-After"]), 1)
            self.assertEqual(ask(index.port, "/simple/open/", ADMIN).status, 503)
            self.assertIn(ask(index.port, "/simple/", basic("admin", "wrong")).status, (401, 503))
            self.assertEqual(open_things(index, place.heard), [])
            server().start()
            began = time.monotonic()
            while 503 in {
                ask(index.port, f"/simple/{name}/").status for name in ("open", "up-other")
            }:
                self.assertEqual(open_things(index, place.heard), [])
                self.assertLess(time.monotonic() - began, 10, index.log())
            self.check(place, index, "cut off at the start")
            self.assertEqual(ask(index.port, "/simple/up-secret-kept/", token).status, 200)

    def check_loss(self, place: Place, what: str, starts: bool, loss: Loss) -> None:
        """It is lost while pypid is stopped: pypid refuses to start, or all is closed."""
        saved = place.copy("saved") if place.accounts.exists() else None
        after = loss(place)
        if starts:
            with pypid(after.folder, after.settings) as index:
                self.check(after, index, what)
                self.assertEqual(loss is restored, LEFT_TO_ADMINS in index.log())
        else:
            said = after.run("serve", status=1)
            reasons = ("that belong to this storage", "which is not set", "of another storage")
            self.assertTrue(any(each in " ".join(said.split()) for each in reasons), said)
            self.assertNotIn("Traceback", said)
            self.assertNotIn("postgresql://", said)
            self.tally.trial(what)
        if saved is not None:
            place.replace(saved)

    def back_up(self, place: Place) -> None:
        """As the documents say: what is not in the state folder, by PostgreSQL's own program."""
        older = place.folder / OLDER
        place.run("backup", older)
        if place.database:
            schema = f"--schema={schema_of(place)}"
            target = f"--file={older / 'dump'}"
            run_postgresql("pg_dump", "--format=custom", schema, target, server().url())

    def check_place(self, name: str) -> None:
        """All losses of a storage and a database; each is a trial."""
        self.tally = Tally(f"lost accounts and rights, {name}")
        try:
            self.lose_all(self.place(name), name)
        except AssertionError as error:
            self.tally.trial("a loss", str(error))
        self.tally.close()

    def lose_all(self, place: Place, name: str) -> None:
        """Lose one after the other."""
        with pypid(place.folder, place.settings) as index:
            begin(index)
            self.back_up(place)
            token = fill(index)
            for kind in WHOM:
                if kind != "kept":
                    lose(index, kind)
                if FULL or kind == "kept":  # the last one: by then all are lost
                    self.check(place, index, f"lost: {kind}")
            if "postgresql" in name:
                self.check_cut_off(place, index)
        if "postgresql" in name:
            self.check_cut_off_at_the_start(place, token)
        for what, starts, loss in LOSSES[name]:
            self.check_loss(place, what, starts, loss)

    def test_folder_sqlite(self) -> None:
        """Rights in SQLite, files in a folder."""
        self.check_place("folder sqlite")

    def test_bucket_sqlite(self) -> None:
        """Rights in SQLite, which is copied into the bucket, and restored from there."""
        self.check_place("bucket sqlite")

    def test_folder_postgresql(self) -> None:
        """Rights in PostgreSQL, files in a folder."""
        self.check_place("folder postgresql")

    def test_bucket_postgresql(self) -> None:
        """Rights in PostgreSQL, files in a bucket."""
        self.check_place("bucket postgresql")

    def until_copied(self, index: LiveIndex) -> None:
        """Wait until the bucket has just got a copy of the accounts."""
        note = index.folder / "state/of-record.json"
        time.sleep(2 * EVERY)
        before = note.read_bytes()
        does(index, "POST", "/api/groups", {"name": "later"})
        began = time.monotonic()
        while note.read_bytes() == before:
            self.assertLess(time.monotonic() - began, 30, index.log())
            time.sleep(0.05)

    def kill_after_the_grant(self, name: str) -> None:
        """The machine is lost before its copy of the accounts in the bucket has the rights."""
        place = self.place(name)
        killed = self.assertRaisesRegex(AssertionError, "pypid ended with -9")
        with killed, pypid(place.folder, place.settings) as index:
            begin(index)
            for kind in WHOM:
                artifact = wheel(f"up-secret-{kind}")
                publish(index.port, artifact.filename, artifact.data, "admin")
            if "sqlite" in name:
                self.until_copied(index)
            publish_first(index)
            for each in NAMES:
                does(index, "PUT", f"/api/projects/{each}/rights/user/alice", {"right": "rw"})
            index.running.process.kill()
        place.heard.clear()
        after = place.elsewhere()
        self.tally = Tally(f"killed right after the grant, {name}")
        with pypid(after.folder, after.settings) as index:
            self.check(after, index, "killed")
            self.assertEqual("sqlite" in name, LEFT_TO_ADMINS in index.log())
        self.tally.close()

    def test_bucket_sqlite_killed(self) -> None:
        """A new machine gets an older copy of the accounts from the bucket."""
        self.kill_after_the_grant("bucket sqlite")

    def test_bucket_postgresql_killed(self) -> None:
        """A new machine has the rights from the server."""
        self.kill_after_the_grant("bucket postgresql")
