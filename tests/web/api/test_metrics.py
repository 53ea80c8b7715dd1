"""``GET /metrics``, and what is counted of answers, in one process."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from pypid.core.errors import PeopleUnknown
from pypid.core.permissions import EVERYONE, Principals
from pypid.metrics.families import (
    BROKEN_OFF,
    FAST_PATH,
    LOGINS,
    REQUEST_SECONDS,
    REQUESTS,
    SENT,
)
from pypid.metrics.worker_metrics import WorkerMetrics
from tests.web.fast_path_pair import Pair
from tests.web.full_app import WholeCase, spelled


class RouteTests(WholeCase):
    """`web.api.metrics`."""

    def test_principals(self) -> None:
        """Whom the rule names may read them, and so may administrators; nobody else, also where
        everyone reads the index.
        """
        for text, expected in (
            ("admins", (401, 403, 200)),
            ("bob", (401, 200, 200)),
            ("authenticated", (401, 200, 200)),
            ("group:nobodys", (401, 403, 200)),
            ("nobody", (401, 403, 200)),
            ("everyone", (200, 200, 200)),
        ):
            self.pypid.app.rules = evolve(self.pypid.app.rules, metrics=Principals.parse(text))
            answers = [
                self.pypid.ask("GET", "/metrics", user=user).status for user in (None, "bob", "ada")
            ]
            self.assertEqual(tuple(answers), expected, text)

    def test_closed(self) -> None:
        """While nobody knows who may do what, they are for administrators only."""
        self.pypid.app.rules = evolve(self.pypid.app.rules, metrics=EVERYONE)
        self.pypid.app.closed = PeopleUnknown("the accounts database")
        self.assertEqual(self.pypid.ask("GET", "/metrics").status, 503)
        self.assertEqual(self.pypid.ask("GET", "/metrics", user="ada").status, 200)

    def test_full_disk(self) -> None:
        """Where workers cannot write their numbers down, the answer is 503, and no number that
        would be wrong.
        """

        async def measured() -> tuple[str, list[WorkerMetrics]]:
            raise OSError(28, "No space left on device")

        self.pypid.app.measured = measured
        answer = self.pypid.ask("GET", "/metrics", user="ada")
        self.assertEqual(answer.status, 503)
        self.assertNotIn("No space", answer.text)


class CountingTests(WholeCase):
    """What is counted where."""

    def setUp(self) -> None:
        """A site with a fast path, and one without."""
        super().setUp()
        self.have_wheel()
        self.pair = Pair(self.pypid, Path(self.mktemp()))
        for site in (self.pair.hot, self.pair.cold):
            site.counts = self.pypid.world.counts

    def test_logins(self) -> None:
        """A wrong password is refused, and too many are throttled: they are told apart."""
        counts = self.pypid.world.counts
        for _ in range(8):
            self.pypid.ask("GET", "/simple/", ("Authorization", "Basic Ym9iOndyb25n"))
        self.pypid.ask("GET", "/simple/", user="ada")
        self.assertEqual(counts.value(LOGINS, ("password", "refused")), 5)
        self.assertEqual(counts.value(LOGINS, ("password", "throttled")), 3)
        self.assertGreaterEqual(counts.value(LOGINS, ("password", "ok")), 1)

    def test_same_numbers(self) -> None:
        """What the fast path counts is what the routes count, but for the time; in batches that
        nobody has to wait for.
        """
        counts = self.pypid.world.counts
        before = self.sums()
        both = self.pair.connect()
        for _ in range(4):
            both.send(spelled("GET", "/simple/spam/"))
        counts.taken()
        after = self.sums()
        self.assertEqual(after[0] - before[0], 8)
        self.assertEqual((after[1] - before[1]) % 8, 0)
        self.assertEqual(after[2] - before[2], 8)
        self.assertGreaterEqual(counts.value(FAST_PATH), 3)
        self.assertEqual(counts.value(BROKEN_OFF, ("/simple/<project>/",)), 0)

    def sums(self) -> tuple[float, float, float]:
        kind = ("/simple/<project>/", "GET", "200")
        counts = self.pypid.world.counts
        return (
            counts.value(REQUESTS, kind),
            counts.value(SENT),
            counts.value(REQUEST_SECONDS, kind[:2]),
        )
