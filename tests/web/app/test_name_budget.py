"""The budget for names that were never asked upstream: `pypid.web.app.rate_limit`."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from ipaddress import ip_network
from pathlib import Path

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.choices import Mode
from pypid.core.errors import Busy
from pypid.core.model import Listing
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.policy import Policy
from pypid.flow import start
from pypid.index.views import DIRECT
from pypid.web.app.rate_limit import ADDRESSES, NameBudget, UnknownNames
from pypid.web.http.connections import TrustedProxies
from tests.distributions import sdist, sdist_filename
from tests.web.full_app import J, Pypid, WholeCase
from tests.web.memory_upstream import Elsewhere

LOCK = [project_name(f"dependency-{number}") for number in range(40)]


class BucketTests(SynchronousTestCase):
    """What is left for an address."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.names = UnknownNames(NameBudget(10, 60), self.clock)

    def spent(self, address: str) -> int:
        """How many names the address may ask for now."""
        for count in range(100):
            try:
                self.names.spend(address)
            except Busy as error:
                self.assertEqual(error.retry_after, 5)
                return count
        return 100

    def test_memory_is_bounded(self) -> None:
        """However many addresses ask, so many are remembered."""
        for number in range(ADDRESSES + 100):
            self.names.spend(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        self.assertEqual(len(self.names._buckets), ADDRESSES)


class _Slow(Elsewhere):
    """An index whose only answer comes when the test says it."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: Deferred[Listing] = Deferred()

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        return await self.answer


class UnknownNamesTests(WholeCase):
    """Clients of a caching proxy, most of them without a login."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = Elsewhere()
        for name in (*LOCK, "known"):
            self.upstream.has(name, sdist_filename(name), sdist(name))
        self.pypid = Pypid(
            Path(self.mktemp()), policy=Policy(mode=Mode.CACHE), upstream=self.upstream
        )
        self.assertEqual(self.status("known"), 200)
        self.upstream.heard.clear()
        self.assertEqual(self.pypid.app.unknown_names.budget, NameBudget(2000, 100))
        self.allow(50)

    def allow(self, burst: int) -> None:
        """From now on an address may ask for so many names, which it has not yet begun to."""
        self.pypid.app.unknown_names = UnknownNames(NameBudget(burst, 30), self.pypid.clock)

    def status(self, name: str, *headers: tuple[str, str], user: str | None = None) -> int:
        """What a client gets for a page."""
        return self.pypid.get(f"/simple/{name}/", J, *headers, user=user).status

    def exhaust(self, *headers: tuple[str, str]) -> int:
        """Ask for names until no more may be; how many were answered."""
        for count in range(100):
            if self.status(f"unknown-{len(self.upstream.heard)}", *headers) != 404:
                return count
        raise AssertionError("there is no end")

    def test_one_client_cannot_ask_for_names_without_end(self) -> None:
        """After the burst comes 503 with Retry-After, and then so many more in a minute; upstream
        hears of no others.
        """
        self.assertEqual(self.exhaust(), 50)
        for path in (
            "/simple/one-more/",
            "/pypi/one-more/json",
            "/packages/one-more/one_more-1.0.tar.gz",
        ):
            answer = self.pypid.get(path)
            self.assertEqual((answer.status, answer["retry-after"]), (503, "5"))
            self.assertIn("Log in", answer.text)
        self.assertEqual(len(self.upstream.heard), 50)
        self.pypid.clock.advance(60)
        self.assertEqual(self.exhaust(), 30)

    def test_known_names_and_users_are_not_limited(self) -> None:
        """With the budget spent, names that were asked for before are served, and users and tokens
        go on.
        """
        self.exhaust()
        self.pypid.clock.advance(3600)
        self.exhaust()
        for name in ("known", "unknown-5"):
            self.assertNotEqual(self.status(name), 503)
        self.assertEqual(self.status("for-alice", user="alice"), 404)

    def test_five_hundred_clients_behind_one_address(self) -> None:
        """500 machines behind one NAT, container port or proxy that is not trusted install the same
        40 new names at once.
        """
        spend = partial(self.pypid.app.unknown_names.spend, "192.0.2.7")
        for client in range(500):
            self.assertEqual(self.status(LOCK[client % 40]), 200)
            for name in LOCK:
                self.assertTrue(
                    self.have(
                        self.pypid.index.view(name, evolve(DIRECT, spend=spend))
                    ).project.files
                )
        self.assertEqual(len(self.upstream.heard), len(LOCK))
        self.assertEqual(self.exhaust(), 50 - len(LOCK))

    def test_clients_that_ask_for_one_name_at_once(self) -> None:
        """Those who wait for the same answer have asked for one name together."""
        upstream = _Slow()
        self.pypid = Pypid(Path(self.mktemp()), policy=Policy(mode=Mode.CACHE), upstream=upstream)
        self.allow(1)
        spend = partial(self.pypid.app.unknown_names.spend, "192.0.2.7")
        clients = [
            start(self.pypid.index.view(project_name("slow"), evolve(DIRECT, spend=spend)))
            for _ in range(500)
        ]
        upstream.answer.callback(
            Listing(
                name=project_name("slow"), files=(), confirmed=self.pypid.world.now(), index="x"
            )
        )
        for client in clients:
            self.successResultOf(client)

    def test_clients_behind_a_trusted_proxy(self) -> None:
        """The forwarded address counts where the proxy is trusted, and nothing that a client
        forwards elsewhere.
        """
        first, other = ("X-Forwarded-For", "203.0.113.1"), ("X-Forwarded-For", "203.0.113.2")
        self.exhaust(first)
        self.assertEqual(self.status("one-more", other), 503)
        self.pypid.site.trusted_proxies = TrustedProxies((ip_network("192.0.2.7/32"),))
        self.assertEqual(self.status("one-more", first), 404)
