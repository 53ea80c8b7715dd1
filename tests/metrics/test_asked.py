"""What is counted of those who are asked: other indexes, S3, people elsewhere, a shared catalog
that is away.
"""

from __future__ import annotations

from datetime import timedelta

from twisted.trial.unittest import SynchronousTestCase

from pypid.access.cached_source import CountedPeople
from pypid.core.errors import (
    BadListing,
    Missing,
    NotThere,
    PeopleUnknown,
    Unauthenticated,
    UpstreamDown,
)
from pypid.core.permissions import Credential, Identity
from pypid.flow import BytesBody, start
from pypid.metrics.counts import (
    PEOPLE,
    PEOPLE_SECONDS,
    S3,
    S3_SECONDS,
    STALE,
    UPSTREAM,
    UPSTREAM_BYTES,
    UPSTREAM_SECONDS,
)
from tests.blobs.s3_cases import S3Case
from tests.index.upstream.test_listings import ANSWERS_500, TTL, CorrespondentCase
from tests.support import world
from tests.upstream.cases import SPAM, UpstreamCase
from tests.upstream.fake import says, status


class UpstreamTests(UpstreamCase):
    """Questions to another index."""

    def times(self, operation: str, outcome: str) -> float:
        return self.world.counts.value(UPSTREAM, (operation, outcome))

    async def test_outcomes(self) -> None:
        """Pages and files by what came of them; and the bytes, as they came."""
        upstream = self.asks()
        good = b'{"meta": {"api-version": "1.0"}, "name": "spam", "files": []}'
        self.script(says(good, ETag='"7"', Content_Type="application/vnd.pypi.simple.v1+json"))
        known = await upstream.project(SPAM, None, ())
        self.assertEqual(self.world.counts.value(UPSTREAM_BYTES), len(good))
        self.script(says(code=304, ETag='"7"', Content_Length=""))
        await upstream.project(SPAM, known, ())
        self.script(status(404))
        await upstream.project(SPAM, None, ())
        await self.page_fails(status(500), UpstreamDown, upstream)
        await self.page_fails(
            says(b"{", Content_Type="application/vnd.pypi.simple.v1+json"), BadListing, upstream
        )
        self.script(status(404), "/files/spam-1.0.tar.gz")
        await self.refused(
            upstream.fetch(f"{self.fake.url}/files/spam-1.0.tar.gz", None, ()), NotThere
        )
        for operation, outcome in (
            *(("page", each) for each in ("ok", "unchanged", "missing", "down", "bad_page")),
            ("file", "missing"),
        ):
            self.assertEqual(self.times(operation, outcome), 1, (operation, outcome))
        self.assertEqual(self.world.counts.value(UPSTREAM_SECONDS, ("page",)), 5)


class S3Tests(S3Case):
    """Requests to S3."""

    async def test_requests(self) -> None:
        """Each by S3's name of the operation and the status, the refused ones as well."""
        await self.blobs.write("a", BytesBody(b"123"))
        await self.get("a")
        await self.fails(Missing, self.blobs.read("nothing"))
        counts = self.world.counts
        self.assertEqual(
            counts.value(S3, ("GetObject", "200")) + counts.value(S3, ("GetObject", "206")), 1
        )
        self.assertEqual(counts.value(S3, ("GetObject", "404")), 1)
        self.assertGreaterEqual(counts.value(S3, ("PutObject", "200")), 1)
        self.assertEqual(counts.value(S3_SECONDS, ("GetObject",)), 2)


class StaleTests(CorrespondentCase):
    """What is served of memory."""

    def test_stale(self) -> None:
        """Each time that upstream fails and its last word is told."""
        counts = self.made.world.counts
        self.theirs()
        self.assertEqual(counts.value(STALE, ("upstream",)), 0)
        self.pass_time(TTL + timedelta(seconds=1))
        self.upstream.fails = ANSWERS_500
        for _ in range(3):
            self.theirs()
        self.assertEqual(counts.value(STALE, ("upstream",)), 3)


class Directory:
    """One that says what it is told to."""

    answer: Identity | Exception | None = None

    async def check(self, credential: Credential) -> Identity | None:
        return await self.find(credential.user)

    async def find(self, user: str) -> Identity | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def groups(self, user: str) -> frozenset[str]:
        return frozenset()


class PeopleTests(SynchronousTestCase):
    """`CountedPeople`."""

    def test_outcomes(self) -> None:
        """Whoever is known, unknown, refused; and a directory that is away."""
        own, behind = world(), Directory()
        people = CountedPeople(behind, "ldap", own)
        for answer, outcome in (
            (Identity("bob"), "ok"),
            (None, "unknown"),
            (Unauthenticated(), "refused"),
            (PeopleUnknown("the directory"), "down"),
            (ValueError(), "failed"),
        ):
            behind.answer = answer
            asked = start(people.check(Credential("bob", "x")))
            if isinstance(answer, Exception):
                self.failureResultOf(asked, type(answer))
            else:
                self.assertEqual(self.successResultOf(asked), answer)
            self.assertEqual(own.counts.value(PEOPLE, ("ldap", outcome)), 1)
        self.successResultOf(start(people.groups("bob")))
        self.assertEqual(own.counts.value(PEOPLE, ("ldap", "ok")), 2)
        self.assertEqual(own.counts.value(PEOPLE_SECONDS, ("ldap",)), 6)
