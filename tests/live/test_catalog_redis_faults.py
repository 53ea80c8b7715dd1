"""What a real Redis may do to a shared catalog: lose the last second, forget keys, refuse, be
another one than before.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.engine import (
    CatalogReset,
    CatalogRow,
    Conflict,
    DatabaseAway,
    DatabaseFull,
    DatabaseUnusable,
    Engine,
    EngineState,
    Position,
    RowChange,
    RowKind,
    Slice,
)
from pypid.core.errors import CannotStart
from pypid.core.model import SignedUrl
from pypid.core.packaging.names import project_name
from pypid.testing.engine import IDENTITY, OTHER
from pypid.testing.worlds import BEGINNING
from tests.live.certificates import Authority
from tests.live.redis import PASSWORD, Redis, engine_at, redis, shared
from tests.live.test_catalog_redis import SPAM, OverSockets

ALLOWED = (
    "~{pypid}:*",
    *(
        "+info",
        "+select",
        "+eval",
        "+evalsha",
        "+get",
        "+set",
        "+del",
        "+unlink",
        "+exists",
        "+hget",
        "+hset",
        "+hmget",
    ),
    *(
        "+hdel",
        "+hlen",
        "+hstrlen",
        "+hincrby",
        "+zadd",
        "+zrem",
        "+zcard",
        "+zscore",
        "+zrange",
        "+zrevrange",
    ),
    *("+zrangebyscore", "+xadd", "+xread", "+time"),
)
"""What docs/guides/nodes.rst tells an ACL to allow."""


STRANGERS = {
    b"": DatabaseAway,
    b"HTTP/1.1 400 Bad Request\r\n\r\n": DatabaseAway,
    b"*3\r\n$1\r\n": DatabaseAway,
    b"-ERR what?\r\n": DatabaseAway,
    b"$4\r\nwhat\r\n": DatabaseUnusable,
    b":7\r\n": DatabaseUnusable,
    b"$-1\r\n": DatabaseUnusable,
    b"*1\r\n$4\r\nwhat\r\n": DatabaseUnusable,
    b"$29\r\nrun_id:x\r\nredis_version:4.0.1\r\n": DatabaseUnusable,
}
"""What somebody may answer who is no Redis, or an old one, and what becomes of it."""


class Faulty(OverSockets):
    """An engine on a server of the test's own, with a row in it."""

    engine: Engine
    server: Redis

    def begin(self, *options: str, password: str = PASSWORD) -> EngineState:
        """Start a server, and put a row in a catalog there, which is complete."""
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.server = stack.enter_context(redis(*options, password=password))
        self.engine = self.at(self.server.url())
        self.generation = self.have(self.engine.open(IDENTITY)).generation
        self.row = self.put(b"line")
        return self.have(self.engine.mark_complete(self.generation))

    def at(self, url: str) -> Engine:
        """Another engine, closed with the test."""
        made = engine_at(url)
        self.addCleanup(lambda: self.have(made.close()))
        return made

    def swap(self, line: bytes | None = b"x", expected: int = 0) -> Any:
        """A change of the row."""
        return self.engine.swap(
            self.generation, RowChange(RowKind.LOCAL, SPAM, line, expected or self.row.version)
        )

    def put(self, line: bytes, name: str = "spam", expected: int = 0) -> CatalogRow:
        """Make a row, which has to be possible."""
        done = self.have(
            self.engine.swap(
                self.generation, RowChange(RowKind.LOCAL, project_name(name), line, expected)
            )
        )
        assert not isinstance(done, Conflict)
        return done

    def is_begun_anew(self, before: EngineState) -> EngineState:
        """That nothing of before is believed, and all begins anew."""
        self.refused(self.engine.state(), CatalogReset)
        self.refused(self.engine.changes(before.position), CatalogReset)
        self.refused(self.engine.row(RowKind.LOCAL, SPAM), CatalogReset)
        self.refused(self.swap(), CatalogReset)
        self.refused(self.engine.mark_complete(before.generation), CatalogReset)
        found = self.have(self.engine.open(IDENTITY, before.serial))
        self.assertEqual((found.version, found.complete), (0, False))
        self.assertNotEqual(found.generation, before.generation)
        self.assertGreater(found.serial, before.serial)
        self.assertGreater(found.rights, before.rights)
        self.assertEqual(self.have(self.engine.changes(found.beginning)).rows, ())
        self.refused(self.engine.changes(before.position), CatalogReset)
        self.generation = found.generation
        return found


class LostTests(Faulty, SynchronousTestCase):
    """What was acknowledged is not there any more."""

    def test_went_back(self) -> None:
        """A server that comes back with what it had a second ago is not believed, though all of
        that is in order.
        """
        self.begin("--appendonly", "yes", "--appendfsync", "everysec")
        self.server.ask("SAVE")
        files = self.server.folder / "appendonlydir"
        shutil.copytree(files, self.server.folder / "earlier")
        self.put(b"later", "ham")
        before = self.have(self.engine.note_rights())
        self.server.kill()
        shutil.rmtree(files)
        (self.server.folder / "earlier").rename(files)
        self.server.start()
        self.assertEqual(self.server.ask("HGET", "{pypid}:standing", "version"), b"1")
        self.is_begun_anew(before)
        self.put(b"again")

    def test_stayed(self) -> None:
        """One that lost nothing is not believed either: nobody can know that."""
        before = self.begin("--appendonly", "yes", "--appendfsync", "always")
        self.server.restart()
        self.is_begun_anew(before)

    def test_another_master(self) -> None:
        """A replica is not asked; one that was made the master is begun anew; so is the first, made
        the master again.
        """
        before = self.begin("--masterauth", PASSWORD)
        with redis("--masterauth", PASSWORD) as second:
            second.ask("REPLICAOF", "127.0.0.1", self.server.port)
            self.assertTrue(
                self.until(
                    lambda: b"master_link_status:up" in second.ask("INFO", "replication"), 10
                )
            )
            there = self.at(second.url())
            for asked in (
                there.open(IDENTITY),
                there.state(),
                there.changes(before.position),
                there.lease("a", "b", 9),
            ):
                self.assertIn("replica", str(self.refused(asked, DatabaseAway)))
            second.ask("REPLICAOF", "NO", "ONE")
            self.refused(there.state(), CatalogReset)
            beats: list[Any] = []
            feed = self.engine.follow(beats.append)
            self.assertTrue(self.until(lambda: bool(beats)))
            self.server.ask("REPLICAOF", "127.0.0.1", second.port)
            self.assertTrue(
                self.until(
                    lambda: b"master_link_status:up" in self.server.ask("INFO", "replication"), 10
                )
            )
            for asked in (self.engine.state(), self.swap(), self.engine.note_rights()):
                self.refused(asked, DatabaseAway)
            self.until(lambda: False, 0.4)
            count = len(beats)
            self.until(lambda: False, 0.5)
            self.assertEqual(len(beats), count)
            self.have(feed.stop())
        self.server.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
        self.assertIn("lost its master", str(self.refused(self.engine.state(), DatabaseAway)))
        self.server.ask("REPLICAOF", "NO", "ONE")
        self.is_begun_anew(before)

    def test_keys_that_went(self) -> None:
        """Keys that a server threw away, or somebody deleted, are no rows that were taken out: it
        is begun anew.
        """
        before = self.begin()
        gone = self.put(b"goes", "ham")
        self.have(
            self.engine.swap(
                self.generation, RowChange(RowKind.LOCAL, gone.name, None, gone.version)
            )
        )
        for keys in (("lines",), ("order",), ("standing",), ("lines", "order", "standing")):
            self.server.ask("DEL", *[f"{{pypid}}:{key}" for key in keys])
            before = self.is_begun_anew(before)
            self.row = self.put(b"line")
            before = self.have(self.engine.mark_complete(before.generation))
        self.server.ask("DEL", "{pypid}:news", "{pypid}:gone")
        self.assertEqual(self.have(self.engine.state()), before)
        self.put(b"more", expected=self.row.version)

    def test_emptied(self) -> None:
        """A database that somebody emptied is one that lost everything."""
        before = self.begin()
        self.server.ask("FLUSHALL")
        self.is_begun_anew(before)

    def test_fields_that_went(self) -> None:
        """So is one row of which somebody deleted a part."""
        before = self.begin()
        self.put(b"stays", "ham")
        self.server.ask("HDEL", "{pypid}:lines", "ours/spam")
        self.is_begun_anew(before)


class NonsenseTests(Faulty, SynchronousTestCase):
    """Somebody has written into it what no pypid writes."""

    def test_rows(self) -> None:
        """A damaged row is one whose line nobody can read, and may be replaced; what is no row is
        none.
        """
        state = self.begin()
        other = self.put(b"other", "ham")
        for held in b"nonsense", b"", b"x+line", b"\xff\xfe", b"-", b"9" * 40 + b"+line":
            self.server.ask("HSET", "{pypid}:lines", "ours/spam", held)
            [row] = [
                each
                for each in self.have(self.engine.changes(state.beginning)).rows
                if each.name == SPAM
            ]
            self.assertEqual((row.version, row.serial), (self.row.version, 0))
            self.assertEqual(self.have(self.swap(b"x", 99)), Conflict(row))
            self.row = self.have(self.swap(b"line"))
            self.assertEqual(self.have(self.engine.row(RowKind.LOCAL, SPAM)), self.row)
        self.server.ask("HSET", "{pypid}:lines", b"odd\xff/x", b"1+line")
        self.server.ask("ZADD", "{pypid}:order", "1", b"odd\xff/x")
        self.server.ask("HINCRBY", "{pypid}:standing", "count", "1")
        found = self.have(self.engine.changes(state.beginning)).rows
        self.assertEqual(found, (other, self.row))
        self.assertEqual(
            self.have(self.engine.changes(state.beginning, 1)),
            Slice((), Position(self.generation, 1), True),
        )

    def test_standing(self) -> None:
        """Where it stands is not guessed: it cannot be used, and says what to do."""
        for field, nonsense in ("epoch", b"\xff"), ("rights", b"many"), ("serial", b"1.5"):
            self.begin()
            self.server.ask("HSET", "{pypid}:standing", field, nonsense)
            error = self.refused(self.engine.state(), DatabaseUnusable)
            self.assertIn("Take its keys away", str(error))
            self.server.ask("FLUSHALL")
            self.have(self.engine.open(IDENTITY))

    def test_links(self) -> None:
        """A link that nobody can read has ended."""
        self.begin()
        link = SignedUrl("https://x.example/", BEGINNING + timedelta(hours=1))
        for held in b"", b"nonsense", b"nonsense x", b"9" * 40 + b" x", b"\xff":
            self.server.ask("SET", "{pypid}:link:k", held)
            self.assertIsNone(self.have(self.engine.link("k", BEGINNING)))
            self.assertEqual(self.have(self.engine.keep_link("k", link, BEGINNING)), link)
            self.assertEqual(self.have(self.engine.link("k", BEGINNING)), link)


class MemoryTests(Faulty, SynchronousTestCase):
    """A server without memory."""

    def full(self) -> None:
        """From now on it takes nothing."""
        used = int(self.server.ask("INFO", "memory").partition(b"used_memory:")[2].split()[0])
        self.server.ask("CONFIG", "SET", "maxmemory", used // 2)

    def test_full(self) -> None:
        """It refuses a change, of which nothing is done; what takes little is possible: to yank, to
        take out, to tell.
        """
        before = self.begin()
        ham = self.put(b"ham", "ham")
        before = self.have(self.engine.state())
        self.full()
        self.assertIn("maxmemory", str(self.refused(self.swap(b"new" * 1000), DatabaseFull)))
        self.refused(self.engine.keep_link("key", _link(), BEGINNING), DatabaseFull)
        self.assertEqual(self.have(self.engine.state()), before)
        self.assertEqual(self.have(self.engine.row(RowKind.LOCAL, SPAM)), self.row)
        self.row = self.put(b"yanked", expected=self.row.version)
        self.refused(
            self.engine.swap(
                self.generation, RowChange(RowKind.LOCAL, project_name("new"), b"new", 0)
            ),
            DatabaseFull,
        )
        gone = self.have(
            self.engine.swap(self.generation, RowChange(RowKind.LOCAL, ham.name, None, ham.version))
        )
        assert isinstance(gone, CatalogRow)
        self.assertIsNone(gone.line)
        self.assertGreater(self.have(self.engine.note_rights()).rights, before.rights)
        self.assertTrue(self.have(self.engine.mark_complete(self.generation)).complete)
        self.assertTrue(self.have(self.engine.lease("tidy", "a", 60)))
        self.have(self.engine.tidy(0))
        self.assertFalse(self.have(self.at(self.server.url()).lease("tidy", "b", 60)))
        self.assertEqual(self.have(self.engine.clear()).serial, gone.serial)
        self.server.ask("CONFIG", "SET", "maxmemory", 0)
        self.generation = self.have(self.engine.open(IDENTITY)).generation
        self.put(b"line")

    def test_throws_away(self) -> None:
        """One that throws keys away where memory is short is told of in the log; what it threw away
        is never "not there".
        """
        with logged() as lines:
            self.begin("--maxmemory-policy", "allkeys-random")
            self.have(self.at(self.server.url()).state())
        self.assertEqual(
            len([line for line in lines if "allkeys-random" in line and "noeviction" in line]), 2
        )
        self.full()
        self.until(lambda: self.server.ask("DBSIZE") == 0, 5.0)
        self.refused(self.engine.state(), CatalogReset)
        self.refused(self.engine.row(RowKind.LOCAL, SPAM), CatalogReset)
        self.server.ask("CONFIG", "SET", "maxmemory", 0)
        self.have(self.engine.open(IDENTITY))

    def test_keeps_all(self) -> None:
        """One that does not is not."""
        with logged() as lines:
            self.begin()
        self.assertEqual([line for line in lines if "maxmemory" in line], [])


class StrangeTests(Faulty, SynchronousTestCase):
    """Keys that are not this pypid's."""

    def test_another_version(self) -> None:
        """A catalog of another version is begun anew at a start; nodes that run then say so, and
        misread nothing.
        """
        before = self.begin()
        self.server.ask("HSET", "{pypid}:standing", "schema", "99")
        self.server.ask("DEL", "{pypid}:lines")
        self.server.ask("SET", "{pypid}:lines", "of another shape")
        for asked in (
            self.engine.changes(before.position),
            self.engine.state(),
            self.swap(),
            self.engine.note_rights(),
        ):
            self.assertIn("another version", str(self.refused(asked, DatabaseUnusable)))
        other = self.at(self.server.url())
        self.refused(other.open(OTHER), CannotStart)
        state = self.have(other.open(IDENTITY))
        self.assertEqual((state.complete, state.version), (False, 0))
        self.assertGreater(state.serial, before.serial)
        self.assertEqual(self.have(other.changes(state.beginning)).rows, ())
        self.refused(self.engine.changes(before.position), CatalogReset)

    def test_somebody_elses(self) -> None:
        """Keys of the same name that are not ours are left alone."""
        server = shared()
        for kind, command, *rest in (
            ("string", "SET", "precious"),
            ("hash", "HSET", "precious", "1"),
        ):
            url = server.catalog()
            key = f"{{{url.rpartition('=')[2]}}}:standing"
            server.ask(command, key, *rest)
            engine = self.at(url)
            self.assertIn(
                "another application", str(self.refused(engine.open(IDENTITY), DatabaseUnusable))
            )
            self.assertEqual(server.ask("TYPE", key), kind.encode())


class RefusedTests(Faulty, SynchronousTestCase):
    """Who is not let in."""

    def told(self, url: str, error: type[DatabaseAway | DatabaseUnusable], *secrets: str) -> str:
        """What is said where it cannot be opened: with none of the secrets."""
        text = str(self.refused(self.at(url).open(IDENTITY), error))
        for secret in (PASSWORD, *secrets):
            self.assertNotIn(secret, text)
        return text

    def test_passwords(self) -> None:
        """A password that is missing, wrong, or not wanted is said; it is in no text."""
        self.begin()
        url = self.server.url
        self.assertIn("wants a password", self.told(url(""), DatabaseUnusable))
        self.assertIn(
            "refuses the user or the password", self.told(url("wr0ng!"), DatabaseUnusable, "wr0ng!")
        )
        self.assertIn(
            "refuses the user or the password",
            self.told(url("wr0ng!", user="nobody"), DatabaseUnusable, "wr0ng!"),
        )
        self.server.ask("CONFIG", "SET", "requirepass", "")
        self.server.password = ""
        self.assertIn("has no password", self.told(url(PASSWORD), DatabaseUnusable))

    def test_renamed(self) -> None:
        """A server that lacks a command repeats its words, a password among them: not to us."""
        with redis("--rename-command", "AUTH", "", password="") as server:
            self.assertIn(
                "lacks a command", self.told(server.url("s3cret!"), DatabaseUnusable, "s3cret!")
            )

    def test_users(self) -> None:
        """A user with the rights that are written down can do everything; one that lacks some is
        told so.
        """
        self.begin()
        self.server.ask("ACL", "SETUSER", "node", "on", ">s3cret!", *ALLOWED)
        self.server.ask("ACL", "SETUSER", "less", "on", ">s3cret!", *ALLOWED, "-hset")
        self.server.ask("ACL", "SETUSER", "other", "on", ">s3cret!", "~{other}:*", *ALLOWED[1:])
        self.engine = self.at(self.server.url("s3cret!", user="node"))
        self.row = self.put(b"new", expected=self.row.version)
        self.have(self.swap(None))
        self.have(self.engine.tidy(0))
        self.have(self.engine.note_rights())
        self.generation = self.have(self.engine.clear()).generation
        self.put(b"line")
        self.have(self.engine.changes(self.have(self.engine.state()).beginning))
        self.assertTrue(self.have(self.engine.lease("tidy", "a", 60)))
        self.have(self.engine.release("tidy", "a"))
        self.have(self.engine.keep_link("key", _link(), BEGINNING))
        self.assertEqual(self.have(self.engine.link("key", BEGINNING)), _link())
        beats: list[Any] = []
        feed = self.engine.follow(beats.append)
        self.assertTrue(self.until(lambda: len(beats) > 3))
        self.have(feed.stop())
        self.assertIn(
            "its user lacks permissions",
            self.told(self.server.url("s3cret!", user="other"), DatabaseUnusable, "s3cret!"),
        )
        before = self.have(self.engine.state())
        working, self.engine = self.engine, self.at(self.server.url("s3cret!", user="less"))
        self.assertIn(
            "its user lacks permissions",
            str(self.refused(self.swap(b"half", before.version), DatabaseUnusable)),
        )
        self.engine = working
        self.is_begun_anew(before)  # it was done by half

    def test_too_many(self) -> None:
        """A server with too many clients says so as soon as one comes."""
        self.begin()
        self.have(self.engine.close())
        self.server.ask("CONFIG", "SET", "maxclients", 1)
        with contextlib.closing(self.server.connected()):
            self.assertIn("too many clients", self.told(self.server.url(), DatabaseAway))

    def test_nobody_there(self) -> None:
        """A server that is not there is named, and is away; so is a socket."""
        self.begin()
        self.server.kill()
        self.assertIn(f"127.0.0.1:{self.server.port}", self.told(self.server.url(), DatabaseAway))
        self.told(f"unix://{self.server.folder}/none.sock", DatabaseAway)

    def test_no_redis(self) -> None:
        """What is no Redis is away, and not believed."""
        answers = [b""]

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    connection.recv(100)
                    connection.sendall(answers[-1])
                    connection.close()

        with socket.create_server(("127.0.0.1", 0)) as listening:
            threading.Thread(target=answer, daemon=True).start()
            for said, expected in STRANGERS.items():
                answers.append(said)
                self.told(f"redis://127.0.0.1:{listening.getsockname()[1]}/", expected)
            listening.shutdown(socket.SHUT_RDWR)


class WaysTests(Faulty, SynchronousTestCase):
    """Ways to a server."""

    def test_socket(self) -> None:
        """A socket of this machine leads to the same catalog."""
        self.begin()
        url = f"unix://:{quote(PASSWORD, safe='')}@{self.server.path}"
        self.assertEqual(self.have(self.at(url).open(IDENTITY)).generation, self.generation)

    def test_databases(self) -> None:
        """Another database, or another prefix, is another catalog."""
        self.begin()
        for url in (self.server.url().replace("/0?", "/3?"), self.server.url(prefix="other")):
            self.assertEqual(self.have(self.at(url).open(OTHER)).version, 0)
        text = str(
            self.refused(
                self.at(self.server.url().replace("/0?", "/999?")).open(IDENTITY), DatabaseUnusable
            )
        )
        self.assertIn("no database of that number", text)

    def test_tls(self) -> None:
        """TLS is believed with a certificate of one of the system's authorities, for that host, and
        not otherwise.
        """
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(redis()).folder
            authority = Authority()
            pem = authority.pem(folder)
            authority.issue(folder / "chain.pem", folder / "key.pem")
            ports = (
                "--tls-cert-file",
                str(folder / "chain.pem"),
                "--tls-key-file",
                str(folder / "key.pem"),
            )
            server = stack.enter_context(
                redis(*ports, "--tls-ca-cert-file", str(pem), "--tls-auth-clients", "no", tls=True)
            )
            url = server.url(scheme="rediss")
            self.assertIn(
                "certificate", str(self.refused(self.at(url).open(IDENTITY), DatabaseUnusable))
            )
            with patch.dict(os.environ, SSL_CERT_FILE=str(pem)):
                engine = self.at(url)
                epoch = self.have(engine.open(IDENTITY)).generation
                row = self.have(
                    engine.swap(epoch, RowChange(RowKind.LOCAL, SPAM, b"long" * 500_000, 0))
                )
                self.assertEqual(self.have(engine.row(RowKind.LOCAL, SPAM)), row)
                self.refused(self.at(server.url(scheme="redis")).open(IDENTITY), DatabaseAway)
                plain = shared().url(scheme="rediss")
                self.assertNotIn(
                    PASSWORD, str(self.refused(self.at(plain).open(IDENTITY), DatabaseAway))
                )


def _link() -> SignedUrl:
    return SignedUrl("https://bucket.example/spam", BEGINNING + timedelta(hours=1))


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """The lines of the log meanwhile, as they are formatted."""
    lines: list[str] = []

    def observe(event: Any) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)
