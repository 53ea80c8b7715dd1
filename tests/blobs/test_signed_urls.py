"""Signed URLs that are given again while they are good."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.signed_urls import Links
from pypid.core.errors import StorageDown
from pypid.core.model import File, SignedUrl, StoredFile
from pypid.core.packaging.names import project_name
from pypid.flow import start
from pypid.ports import Blobs
from tests.support import world
from tests.support.worlds import Awaiting, WallClock

quick = settings(max_examples=60, deadline=None, database=None)
SPAM = project_name("spam")


def file(number: int = 1) -> File:
    """A stored file."""
    filename = f"spam-{number}.0.tar.gz"
    return StoredFile(
        project=SPAM,
        filename=filename,
        version=f"{number}.0",
        sha256="0" * 64,
        size=1,
        key=f"spam/{filename}",
    )


class Signer:
    """A store that signs. `credentials`: seconds until its keys end. `waits`: it answers when the
    test says so.
    """

    def __init__(self, clock: Clock) -> None:
        self.wall = WallClock(clock)
        self.world = world(clock, wall=self.wall)
        self.signed: list[str] = []
        self.credentials = float("inf")
        self.waits: Deferred[None] | None = None
        self.failure: StorageDown | None = None
        self.none = False
        self.keys = ""
        self.is_open = True
        self.clock = clock

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        """A URL that is like no other."""
        self.signed.append(key)
        number = len(self.signed)
        if self.waits is not None:
            await self.waits
        if self.failure is not None:
            raise self.failure
        if self.none:
            return None
        self.is_open = True
        left = min(lifetime.total_seconds(), max(1.0, self.credentials - self.clock.seconds()))
        return SignedUrl(
            f"https://s3.example/{key}?{number}",
            self.world.now() + timedelta(seconds=left),
            self.keys,
        )

    def signer(self) -> str | None:
        """Whose keys are in force, once the store is open."""
        return self.keys if self.is_open else None


class LinksTests(Awaiting, SynchronousTestCase):
    """`Links`."""

    def setUp(self) -> None:
        super().setUp()
        self.make()

    def make(self, lifetime: float = 60, buffer: float = 10, **more: Any) -> None:
        """Links of a new store."""
        self.clock = Clock()
        self.signer = Signer(self.clock)
        blobs = cast(Blobs, self.signer)
        self.links = Links(
            blobs, self.signer.world, timedelta(seconds=lifetime), timedelta(seconds=buffer), **more
        )

    def test_links_that_replaced_keys_signed_are_not_given(self) -> None:
        """As soon as other keys are in force, or another secret under the same key, links are
        signed anew, also in a dump.
        """
        self.make(signer=lambda: self.signer.signer())
        first = self.link()
        self.assertEqual(self.link(), first)
        self.signer.keys = "others"
        self.assertEqual(self.links.good(), [])
        second = self.link()
        self.assertNotEqual(second, first)
        self.assertEqual((self.link(), [link for _, link in self.links.good()]), (second, [second]))

    def test_links_of_a_dump_wait_until_the_signer_is_known(self) -> None:
        """After a restart with other keys a remembered link is not given, also before the storage
        is open.
        """
        for keys, is_same in (("", True), ("others", False)):
            self.make(signer=lambda: self.signer.signer())
            first = self.link()
            remembered = self.links.good()
            self.make(signer=lambda: self.signer.signer())
            self.signer.keys, self.signer.is_open = keys, False
            self.signer.signed = ["before"]
            self.links.remember(remembered)
            self.assertEqual(self.link() == first, is_same)

    def link(self, number: int = 1) -> SignedUrl:
        found = self.have(self.links.link(file(number)))
        assert found is not None
        return found

    def test_clock_set_back_ends_a_link(self) -> None:
        """A URL that would last longer than any new one was signed by a clock that was wrong: it is
        not given again.
        """
        first = self.link()
        self.signer.wall.step(-86400)
        second = self.link()
        self.assertNotEqual(second.url, first.url)
        self.assertEqual(self.link(), second)

    @quick
    @given(
        st.integers(2, 1000).flatmap(
            lambda lifetime: st.tuples(st.just(lifetime), st.integers(0, lifetime - 1))
        ),
        st.floats(1, 3000),
        st.lists(st.tuples(st.floats(0, 400), st.integers(1, 5)), max_size=30),
        st.integers(1, 4),
    )
    def test_time(
        self, times: tuple[int, int], credentials: float, steps: list[tuple[float, int]], most: int
    ) -> None:
        """Whatever time passes, a URL is good for at least the buffer or was signed just now; and
        few are remembered.
        """
        lifetime, buffer = times
        self.make(lifetime, buffer, most=most)
        self.signer.credentials = credentials
        given_at: dict[str, float] = {}
        for pause, number in steps:
            self.clock.advance(pause)
            before = len(self.signer.signed)
            link = self.link(number)
            is_fresh = len(self.signer.signed) > before
            left = (link.expires - self.signer.world.now()).total_seconds()
            self.assertGreater(left, 0)
            if not is_fresh:
                self.assertGreater(left, buffer)
                self.assertIn(link.url, given_at)
            given_at.setdefault(link.url, self.clock.seconds())
            self.assertLessEqual(self.clock.seconds() - given_at[link.url], lifetime)
            self.assertIn(file(number).filename, link.url)
            self.assertLessEqual(len(self.links.good()), most)
            self.assertLessEqual(len(self.links._held), most)

    def test_one_flight(self) -> None:
        """Many who ask at once get the same URL; one of them who goes away takes nothing from the
        others.
        """
        self.signer.waits = Deferred()
        asking = [start(self.links.link(file())) for _ in range(5)]
        asking[0].cancel()
        self.failureResultOf(asking[0])
        waits, self.signer.waits = self.signer.waits, None
        waits.callback(None)
        self.assertEqual(len({self.successResultOf(one).url for one in asking[1:]}), 1)
        self.assertEqual(len(self.signer.signed), 1)

    def test_written_down(self) -> None:
        """What was good before a restart is given after it, while it still is; what was signed
        since is not replaced.
        """
        before = [self.link(number) for number in (1, 2)]
        good = self.links.good()
        self.assertEqual([link for _, link in good], before)
        self.links._held.clear()
        newer = self.link(2)
        self.links.remember(good)
        self.assertEqual([self.link(number) for number in (1, 2)], [before[0], newer])
        self.clock.advance(55)
        self.links._held.clear()
        self.links.remember(good)
        self.assertEqual(self.links.good(), [])

    def test_silent(self) -> None:
        """No URL is in a repr."""
        link = self.link()
        self.assertNotIn("s3.example", repr(self.links) + repr(link))
