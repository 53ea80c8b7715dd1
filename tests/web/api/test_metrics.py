"""``GET /metrics``, and what is counted of answers, in one process."""

from __future__ import annotations

from attrs import evolve

from pypid.core.errors import PeopleUnknown
from pypid.core.permissions import EVERYONE, Principals
from pypid.metrics.worker_metrics import WorkerMetrics
from tests.web.full_app import WholeCase


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
