"""What a catalog in Redis makes of URLs, refusals and connections. (With a server:
`tests.live.test_catalog_redis`.)
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import string
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import txredisapi
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet import error as network
from twisted.internet.defer import TimeoutError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog import redis
from pypid.catalog.engine import DatabaseAway, DatabaseFull, DatabaseUnusable
from pypid.catalog.redis import scripts
from pypid.catalog.redis.faults import Lost, loss, refusal
from pypid.catalog.redis.place import Host, RedisPlace, UnixServer, place_of
from pypid.catalog.redis.wire import PATIENCE, RedisWire
from pypid.core.errors import CannotStart
from pypid.core.installation import install_hint
from pypid.flow import start
from pypid.testing.worlds import world

modest = settings(max_examples=60, deadline=None, database=None)
SECRET = "s3cret-of-ours"
_words = st.text(min_size=1, max_size=20)
_hosts = st.sampled_from(["localhost", "redis.example.com", "10.0.0.1", "::1", "fe80::1"])


class PlaceTests(SynchronousTestCase):
    """`[catalog] url`."""

    def test_examples(self) -> None:
        """These URLs, as other programs write them, name these places."""
        for url, place in {
            "redis://localhost": RedisPlace(Host("localhost", 6379)),
            "redis://localhost/": RedisPlace(Host("localhost", 6379)),
            "redis://:pw@10.0.0.1:6380/3": RedisPlace(
                Host("10.0.0.1", 6380), password="pw", database=3
            ),
            "rediss://me:p%40w@redis.example.com/?db=2&prefix=team": RedisPlace(
                Host("redis.example.com", tls=True), "me", "p@w", 2, "team"
            ),
            "redis://[::1]:6379": RedisPlace(Host("::1", 6379)),
            "unix:///run/redis/redis.sock?db=1": RedisPlace(
                UnixServer("/run/redis/redis.sock"), database=1
            ),
            "unix://me:pw@/run/redis/redis.sock": RedisPlace(
                UnixServer("/run/redis/redis.sock"), "me", "pw"
            ),
        }.items():
            self.assertEqual(place_of(url), place, url)

    @modest
    @given(
        _hosts,
        st.integers(1, 65535),
        _words | st.just(""),
        _words | st.just(""),
        st.integers(0, 99999),
        st.booleans(),
        st.booleans(),
    )
    def test_quoted(
        self,
        host: str,
        port: int,
        user: str,
        password: str,
        database: int,
        tls: bool,
        in_query: bool,
    ) -> None:
        """Whatever a user and a password are, quoted they come back; a user has a password."""
        name = f"[{host}]" if ":" in host else host
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
        end = f"/?db={database}" if in_query else f"/{database}"
        url = f"redis{'s' * tls}://{login}{name}:{port}{end}"
        if user and not password:
            self.assertRaises(CannotStart, place_of, url)
            return
        self.assertEqual(place_of(url), RedisPlace(Host(host, port, tls), user, password, database))

    @modest
    @given(
        st.text(string.printable, max_size=60),
        st.sampled_from(["redis://", "rediss://", "unix://", "redis:", ""]),
    )
    def test_refused(self, rest: str, scheme: str) -> None:
        """Any other text is refused with advice, and with none of its words."""
        url = f"{scheme}:{SECRET}{rest}"
        try:
            place = place_of(url)
        except CannotStart as error:
            self.assertNotIn(SECRET, str(error))
            self.assertIn("[catalog] url", str(error))
        else:
            self.assertTrue(place.password.startswith(SECRET))
            self.assertNotIn(SECRET, repr(place))

    def test_not_quoted(self) -> None:
        """A password that is not quoted is not taken for a host, a port, a path or a database."""
        for url in (
            f"redis://:{SECRET}@x@host/0",
            f"redis://:x/{SECRET}@host/0",
            f"redis://:x#{SECRET}@host/0",
            f"redis://:x?{SECRET}@host/0",
            f"redis://:{SECRET}:x@host:y/0",
            f"redis://{SECRET}@host/0",
            f"redis://host/{SECRET}",
            f"redis://host:{SECRET}/0",
            f"redis://host/0?password={SECRET}",
            f"redis://host/0?prefix={{{SECRET}}}",
            f"redis://host/0?db=1&prefix={SECRET}%20x",
            f"redis://host/1?db={SECRET}",
            f"redis://host name/{SECRET}",
            f"redis:///{SECRET}",
            f"unix://{SECRET}",
            f"unix://host/{SECRET}",
            f"postgresql://{SECRET}@host/x",
        ):
            error = self.assertRaises(CannotStart, place_of, url)
            self.assertNotIn(SECRET, str(error), url)

    def test_is_no_secret(self) -> None:
        """A password is in no repr, and is taken out of what a server said, as it is and as Redis
        quotes it.
        """
        place = place_of("redis://me:s3cret'%5Cn@host")
        self.assertNotIn("s3cret", repr(place))
        for text in ("s3cret'\\n", repr("s3cret'\\n")):
            self.assertNotIn("s3cret", place.clean(f"with args beginning with: {text}"))


class OpenTests(SynchronousTestCase):
    """`open`."""

    def test_opens_nothing(self) -> None:
        """It connects to nobody; what is wrong with a URL it says at once."""
        engine = redis.open("redis://nowhere.invalid", world(), None)
        self.successResultOf(start(engine.close()))
        self.assertRaises(CannotStart, redis.open, "redis:", world(), None)

    def test_not_installed(self) -> None:
        """Where what speaks to Redis is missing it says what to install."""
        with patch("pypid.catalog.redis.NEEDS", ("no_such_module",)):
            error = self.assertRaises(CannotStart, redis.open, "redis://host", world(), None)
        self.assertIn(install_hint("redis"), str(error))


class FaultTests(SynchronousTestCase):
    """What is said of refusals and losses."""

    place = RedisPlace(Host("host"), password=SECRET)

    def test_refusals(self) -> None:
        """Each answer of a server, of whichever version, is what it is, and says what to do."""
        for text, kind, word in (
            ("OOM command not allowed when used memory > 'maxmemory'.", DatabaseFull, "maxmemory"),
            (
                (
                    "ERR Error running script (call to f_1): @user_script:1: -OOM command not "
                    "allowed when"
                ),
                DatabaseFull,
                "maxmemory",
            ),
            ("NOAUTH Authentication required.", DatabaseUnusable, "password"),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                DatabaseUnusable,
                "password",
            ),
            ("ERR invalid password", DatabaseUnusable, "password"),
            ("ERR Client sent AUTH, but no password is set", DatabaseUnusable, "no password"),
            ("ERR wrong number of arguments for 'auth' command", DatabaseUnusable, "Redis 6"),
            (
                "NOPERM this user has no permissions to run the 'info' command",
                DatabaseUnusable,
                "ACL",
            ),
            (
                "ERR The user executing the script can't run this command or subcommand",
                DatabaseUnusable,
                "ACL",
            ),
            ("DENIED Redis is running in protected mode because", DatabaseUnusable, "protected"),
            ("ERR DB index is out of range", DatabaseUnusable, "[catalog] url"),
            ("ERR SELECT is not allowed in cluster mode", DatabaseUnusable, "database 0"),
            ("MOVED 3999 127.0.0.1:6381", DatabaseUnusable, "Cluster"),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                DatabaseUnusable,
                "prefix",
            ),
            ("ERR unknown command `XADD`, with args beginning with:", DatabaseUnusable, "Redis 5"),
            ("LOADING Redis is loading the dataset in memory", DatabaseAway, "start"),
            ("MASTERDOWN Link with MASTER is down", DatabaseAway, "master"),
            ("READONLY You can't write against a read only replica.", DatabaseAway, "replica"),
            (
                "ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write",
                DatabaseAway,
                "replica",
            ),
            ("NOREPLICAS Not enough good replicas to write.", DatabaseAway, "replicas"),
            ("MISCONF Redis is configured to save RDB snapshots, but", DatabaseAway, "disk"),
            ("CLUSTERDOWN The cluster is down", DatabaseAway, "cluster"),
            ("BUSY Redis is busy running a script.", DatabaseAway, "script"),
            ("ERR max number of clients reached", DatabaseAway, "maxclients"),
            (f"ERR whatever {SECRET}\nand more", DatabaseAway, "whatever ***"),
        ):
            found = refusal(self.place, text)
            self.assertIs(type(found), kind, text)
            self.assertIn(word, str(found))
            self.assertNotIn("and more", str(found))

    def test_losses(self) -> None:
        """What ends a connection is told apart: only one that was closed may be tried again at
        once.
        """
        for error, kind, word in (
            (network.ConnectionDone(), Lost, "closed"),
            (network.ConnectionLost(), Lost, "closed"),
            (network.ConnectionAborted(), DatabaseAway, "closed here"),
            (network.ConnectionRefusedError(), DatabaseAway, "reached"),
            (network.DNSLookupError(), DatabaseAway, "reached"),
            (TimeoutError(), DatabaseAway, "does not answer"),
            (network.TimeoutError(), DatabaseAway, "does not answer"),
            (
                SSL.Error([("SSL routines", "", "certificate verify failed")]),
                DatabaseUnusable,
                "certificate",
            ),
            (SSL.Error([("SSL routines", "", "wrong version number")]), DatabaseAway, "TLS"),
            (OSError(f"{SECRET}"), DatabaseAway, "***"),
        ):
            found = loss(self.place, error)
            self.assertIs(type(found), kind, error)
            self.assertIn(word, str(found))


class Transport(StringTransport):
    """Tells the protocol when it was aborted."""

    wire: RedisWire

    def abortConnection(self) -> None:
        self.disconnecting = True
        self.wire.connectionLost(Failure(network.ConnectionAborted()))


class WireTests(SynchronousTestCase):
    """txredisapi's protocol, with a server that a test plays."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wire = RedisWire(RedisPlace(Host("host"), password=SECRET), self.clock)
        self.transport = Transport()
        self.transport.wire = self.wire
        self.wire.makeConnection(self.transport)

    def ask(self, *words: Any) -> Any:
        """A question that is under way."""
        return start(self.wire.ask(*words))

    def test_bytes(self) -> None:
        """Values go and come as bytes, whatever they look like."""
        asked = self.ask("GET", b"\xff\r\n", 7)
        self.assertEqual(
            self.transport.value(), b"*3\r\n$3\r\nGET\r\n$3\r\n\xff\r\n\r\n$1\r\n7\r\n"
        )
        self.wire.dataReceived(b"*5\r\n$2\r\n12\r\n$4\r\n-1.5\r\n:3\r\n$-1\r\n*1\r\n$6\r\nQUEU")
        self.assertNoResult(asked)
        self.wire.dataReceived(b"ED\r\n")
        self.assertEqual(self.successResultOf(asked), [b"12", b"-1.5", 3, None, [b"QUEUED"]])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silence(self) -> None:
        """Silence ends a question and the connection; an answer that goes on coming may take its
        time.
        """
        asked = self.ask("GET", "key")
        self.wire.dataReceived(b"$20\r\n")
        for _ in range(4):
            self.clock.advance(PATIENCE - 1)
            self.wire.dataReceived(b"12345")
        self.clock.advance(PATIENCE - 0.1)
        self.wire.dataReceived(b"\r\n")
        self.assertEqual(self.successResultOf(asked), b"12345" * 4)
        asked = self.ask("GET", "key")
        self.clock.advance(PATIENCE)
        self.assertIn("does not answer", str(self.failureResultOf(asked, DatabaseAway).value))
        self.assertTrue(self.transport.disconnecting)
        self.failureResultOf(self.ask("GET", "key"), DatabaseAway)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_goes_away(self) -> None:
        """Whoever goes away before the answer came ends the connection: nobody gets another one's
        answer.
        """
        asked = self.ask("GET", "key")
        asked.cancel()
        self.failureResultOf(asked)
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.wire.is_open)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unasked(self) -> None:
        """What a server says unasked is no answer to the next question, but why it ended the
        connection.
        """
        for said, kind in (
            (b"$4\r\nevil\r\n", DatabaseAway),
            (b"-DENIED Redis is running in protected mode\r\n", DatabaseUnusable),
        ):
            self.setUp()
            self.wire.dataReceived(said)
            self.assertTrue(self.transport.disconnecting)
            self.failureResultOf(self.ask("GET", "key"), kind)

    def test_nonsense(self) -> None:
        """What is not Redis's protocol ends the connection, and is no error in the log."""
        asked = self.ask("GET", "key")
        self.wire.dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.failureResultOf(asked, DatabaseAway)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_lost(self) -> None:
        """A connection that is lost ends its question; what is asked later fails at once."""
        asked = self.ask("GET", "key")
        self.wire.connectionLost(Failure(network.ConnectionDone()))
        self.failureResultOf(asked, Lost)
        self.failureResultOf(self.ask("GET", "key"), Lost)
        self.successResultOf(self.wire.ended)

    def test_scripts(self) -> None:
        """A script goes as its digest; whole where the server does not know it yet."""
        asked = start(self.wire.run_script(scripts.LEASE, [b"key"], "me", 5))
        self.assertIn(scripts.LEASE.digest.encode(), self.transport.value())
        self.transport.clear()
        self.wire.dataReceived(b"-NOSCRIPT No matching script. Please use EVAL.\r\n")
        self.assertIn(scripts.LEASE.text.encode(), self.transport.value())
        self.wire.dataReceived(b":1\r\n")
        self.assertEqual(self.successResultOf(asked), 1)

    def test_another_rank(self) -> None:
        """Where a server refuses for now the connection is not used again: another one may answer
        at that address.
        """
        asked = self.ask("GET", "key")
        self.wire.dataReceived(b"-LOADING Redis is loading the dataset in memory\r\n")
        self.failureResultOf(asked, DatabaseAway)
        self.assertFalse(self.wire.is_open)
        self.assertTrue(issubclass(txredisapi.TimeoutError, txredisapi.RedisError))
