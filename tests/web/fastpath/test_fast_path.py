"""The fast path: what it learns, what it forgets, what it never keeps, and connections that use
it.
"""

from __future__ import annotations

import gc
from base64 import b64encode
from pathlib import Path

from hypothesis import strategies as st

from pypid.access.chain import FREE
from pypid.core.configuration.choices import Mode
from pypid.core.errors import UpstreamDown
from pypid.core.policy import Policy
from pypid.web.fastpath import channel
from pypid.web.fastpath.channel import FastPath
from pypid.web.fastpath.response_cache import KnownClient
from pypid.web.http.connections import TrustedProxies
from tests.distributions import wheel, wheel_filename
from tests.web.fast_path_pair import Lines
from tests.web.full_app import PASSWORDS, PRIVATE, J, Pypid, WholeCase, basic, spelled
from tests.web.memory_upstream import Elsewhere

PAGE = spelled("GET", "/simple/spam/", ("Accept", J))


class FastPathCase(WholeCase):
    """A pypid behind a fast path, with one project."""

    limit = 1 << 20

    def setUp(self) -> None:
        """Open it."""
        super().setUp()
        self.open()
        self.have_wheel()

    def open(self, pypid: Pypid | None = None) -> None:
        """Give this pypid a fast path."""
        self.pypid = pypid or self.pypid
        self.lines = Lines(self.pypid)
        self.fast_path = FastPath(self.pypid.app, self.lines, limit=self.limit)
        self.pypid.site.fast_path = self.fast_path

    def is_known(self, data: bytes = PAGE) -> bool:
        """Whether the fast path answers this, on a connection of its own."""
        before = self.fast_path.answered
        connection = self.pypid.connect()
        connection.send(data)
        self.assertNotEqual(connection.socket.value(), b"")
        return self.fast_path.answered > before

    def learned(self, data: bytes = PAGE) -> None:
        """The fast path knows it from now on."""
        self.is_known(data)
        self.assertTrue(self.is_known(data))


class PeopleTests(FastPathCase):
    """Who is known."""

    rules = PRIVATE

    def test_lease(self) -> None:
        """Whoever has logged in is believed for less than five minutes, and a token no longer than
        it lasts.
        """
        mine = spelled("GET", "/simple/spam/", ("Accept", J), user="alice")
        self.learned(mine)
        self.pypid.clock.advance(289)
        self.assertTrue(self.is_known(mine))
        self.pypid.clock.advance(2)
        self.assertFalse(self.is_known(mine))

    def test_silence(self) -> None:
        """While the accounts database is silent nobody is believed because they were before;
        afterwards they are again.
        """
        mine = spelled("GET", "/simple/spam/", ("Accept", J), user="alice")
        self.learned(mine)
        connection, epoch = self.pypid.connect(), self.pypid.app.auth_generation
        connection.send(mine)
        epoch.until = self.pypid.clock.seconds() + 5
        self.assertTrue(self.is_known(mine))
        self.pypid.clock.advance(5)
        self.assertFalse(self.is_known(mine))
        before = self.fast_path.answered
        connection.send(mine)
        self.assertEqual(self.fast_path.answered, before)
        epoch.until = self.pypid.clock.seconds() + 5
        self.assertTrue(self.is_known(mine))

    def test_wrong(self) -> None:
        """A wrong password is refused each time, and nobody is let in by another's."""
        self.learned(spelled("GET", "/simple/spam/", ("Accept", J), user="alice"))
        for _ in range(3):
            self.assertFalse(
                self.is_known(
                    spelled("GET", "/simple/spam/", ("Accept", J), basic("alice", "wrong"))
                )
            )
            self.assertFalse(self.is_known())

    def test_addresses_that_have_to_wait(self) -> None:
        """Nothing is answered from memory to an address from which passwords are guessed: the right
        one would be told from wrong ones.
        """
        mine = spelled("GET", "/simple/spam/", ("Accept", J), user="alice")
        self.learned(mine)
        for guess in range(FREE):
            wrong = basic("alice", f"guess {guess}")
            self.is_known(spelled("GET", "/simple/spam/", ("Accept", J), wrong))
        self.assertFalse(self.is_known(mine))
        self.pypid.clock.advance(1)
        self.assertTrue(self.is_known(mine))

    def test_one_connection(self) -> None:
        """Whoever comes by the same connection is asked who they are; after another epoch they are
        learned anew there.
        """
        alice, bob = (
            spelled("GET", "/simple/spam/", ("Accept", J), user=user) for user in ("alice", "bob")
        )
        wrong = spelled("GET", "/simple/spam/", ("Accept", J), basic("alice", "wrong"))
        connection, answered = self.pypid.connect(), []
        for data, status in [
            (alice, 200),
            (bob, 200),
            (wrong, 401),
            (PAGE, 401),
            (alice, 200),
            (alice, 200),
        ] * 3:
            before = self.fast_path.answered
            connection.send(data)
            answer = connection.answer()
            assert answer is not None
            self.assertEqual(answer.status, status)
            answered.append(self.fast_path.answered - before)
        self.assertEqual(answered, [0, 0, 0, 0, 1, 1, *(1, 1, 0, 0, 1, 1) * 2])
        self.pypid.app.auth_generation.bump()
        for known in (0, 1, 1):
            before = self.fast_path.answered
            connection.send(alice)
            self.assertEqual(self.fast_path.answered - before, known)

    def test_somebody_else(self) -> None:
        """Whose rights have changed is known as who they are now also on the connection on which
        they came before.
        """
        self.have_wheel("eggs")
        spam, eggs = (
            spelled("GET", f"/simple/{name}/", ("Accept", J), user="alice")
            for name in ("spam", "eggs")
        )
        self.learned(spam)
        connection = self.pypid.connect()
        connection.send(spam)
        self.pypid.access.admins = frozenset({"ada", "alice"})
        self.pypid.access.forget_all()
        self.pypid.app.auth_generation.bump()
        for known in (0, 1, 1):
            before = self.fast_path.answered
            connection.send(eggs)
            self.assertEqual(self.fast_path.answered - before, known)

    def test_no_secrets(self) -> None:
        """No password, token or cookie is kept, nor the header that it came in."""
        self.learned(spelled("GET", "/simple/spam/", ("Accept", J), user="alice"))
        self.learned(
            spelled(
                "GET", "/simple/spam/", ("Accept", J), basic("alice"), ("Cookie", "theme=sEcReT")
            )
        )
        self.learned(
            spelled("GET", "/simple/spam/", ("Accept", J), basic("alice"), ("X-Api-Key", "sEcReT"))
        )
        connection = self.pypid.connect()
        connection.send(spelled("GET", "/simple/spam/", ("Accept", J), user="alice"))
        known = connection.channel.known
        self.assertEqual(known is not None, channel.KEYED)
        self.assertTrue(known is None or isinstance(known[0], int))
        gc.collect()
        secrets = (b64encode(f"alice:{PASSWORDS['alice']}".encode()), b"sEcReT")
        clients = [each for each in self.fast_path.store._entries if isinstance(each, KnownClient)]
        self.assertEqual(len(clients), 3)
        for client in clients:
            for secret in secrets:
                self.assertNotIn(secret, client.key)
                self.assertNotIn(secret.decode(), repr(client))

    def test_proxies(self) -> None:
        """What a proxy says is believed by the lookup of those who are trusted, and
        by no other.
        """
        lookups = {
            self.fast_path.lookup(secure, trusted)
            for secure in (False, True)
            for trusted in (False, True)
        }
        self.assertEqual(len(lookups), 4)
        self.learned(spelled("GET", "/simple/spam/", ("Accept", J), user="alice"))
        self.pypid.site.trusted_proxies = TrustedProxies(unix=True)
        self.assertTrue(self.is_known(spelled("GET", "/simple/spam/", ("Accept", J), user="alice")))


class UpstreamTests(FastPathCase):
    """Projects of the other index."""

    def setUp(self) -> None:
        """Have it open."""
        WholeCase.setUp(self)
        self.upstream = Elsewhere()
        self.open(
            Pypid(Path(self.mktemp()), policy=Policy(mode=Mode.CACHE), upstream=self.upstream)
        )
        self.upstream.now = self.pypid.world.now
        self.have(self.pypid.index.maintenance.reconcile())
        for name in ("spam", "eggs"):
            self.upstream.has(name, wheel_filename(name, "1.0"), wheel(name, "1.0"))
        for _ in range(2):
            self.is_known()

    def test_away(self) -> None:
        """Once the other index is known to be away nothing is given that cannot be downloaded."""
        self.assertTrue(self.is_known())
        self.upstream.away = UpstreamDown("nobody answers", unreachable=True)
        self.is_known(spelled("GET", "/simple/eggs/"))
        self.assertFalse(self.is_known())

    def test_unproven(self) -> None:
        """As long as it is not known whether a name is ours, the storage is looked at each time."""
        policy = Policy(mode=Mode.CACHE)
        self.open(Pypid(Path(self.mktemp()), policy=policy, upstream=self.upstream, compared=False))
        for _ in range(4):
            self.assertFalse(self.is_known())


class RoomTests(FastPathCase):
    """How much is kept."""

    limit = 40_000

    def test_bounded(self) -> None:
        """However many words and addresses there are, no more is kept than may be; what was used
        last stays.
        """
        for number in range(200):
            self.pypid.clock.advance(1)
            self.is_known(
                spelled("GET", "/simple/spam/", ("Accept", J), ("User-Agent", f"agent {number}"))
            )
            self.assertTrue(
                self.is_known(
                    spelled(
                        "GET", "/simple/spam/", ("Accept", J), ("User-Agent", f"agent {number}")
                    )
                )
            )
            self.assertLessEqual(self.fast_path.store.weight, self.limit)
        self.assertEqual(
            self.fast_path.store.weight, sum(each.weight for each in self.fast_path.store._entries)
        )
        for number in range(200):
            self.pypid.clock.advance(1)
            self.is_known(spelled("GET", "/simple/spam/", ("X-Kind", f"{number}")))
            self.assertLessEqual(self.fast_path.store.weight, self.limit)
        self.assertLess(len(self.fast_path.store.responses), 40)


class ConnectionTests(FastPathCase):
    """Connections whose requests the fast path answers."""

    def setUp(self) -> None:
        """It knows a page."""
        super().setUp()
        self.learned()

    def test_slow_headers(self) -> None:
        """Whoever begins a request after the fast path answered, and does not go on, is cut off
        after a minute.
        """
        connection = self.pypid.connect()
        connection.send(PAGE)
        connection.send(b"GET /simple/spam/ HT")
        self.pypid.clock.advance(61)
        self.assertTrue(connection.socket.disconnecting)

    def test_drained(self) -> None:
        """A site that stops answers nothing more on idle connections, and the last lines are
        written.
        """
        connection = self.pypid.connect()
        connection.send(PAGE)
        self.pypid.site.drain()
        sent = connection.socket.value()
        connection.channel.dataReceived(PAGE)
        self.assertEqual(connection.socket.value(), sent)
        self.assertEqual(len([line for line in self.lines.texts if "GET /simple/spam/" in line]), 2)


NAMES = st.sampled_from(
    [
        "Accept",
        "User-Agent",
        "Cookie",
        "If-None-Match",
        "if-none-match",
        "Range",
        "X",
        "a b",
        "Host",
        "",
    ]
)
VALUES = st.sampled_from(
    ['"x"', "text/html", "", " ", "a\r\n b", "a\rb", "a\nb", "\0", "\xe9", "a\r\n\r\nb", "\t"]
)
