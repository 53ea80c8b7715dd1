"""Blocks over the API: the answers of clients, the audit log, the metric, and who learns of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from pypid.blobs.signed_urls import Links
from pypid.core.accounts.rights import grants_of, parse_right
from pypid.core.permissions import EVERYONE, Principals, Rules
from pypid.metrics.counts import WITHHELD
from tests.distributions import wheel, wheel_filename
from tests.web.app_with_accounts import Peopled
from tests.web.full_app import Answer, WholeCase

FILE = f"/packages/spam/{wheel_filename('spam', '1.0')}"
PRIVATE_FILE = f"/packages/acme-owned/{wheel_filename('acme-owned', '1.0')}"
RULES = Rules(
    read=EVERYONE,
    write=Principals(users=frozenset({"alice"})),
    projects=grants_of([parse_right("acme-owned.user.alice", "rw")]),
)


class BlocksTests(WholeCase):
    """`/api/blocks`."""

    rules = RULES

    def setUp(self) -> None:
        super().setUp()
        for name in ("spam", "acme-owned"):
            for version in ("1.0", "2.0"):
                self.published(self.publish(wheel_filename(name, version), wheel(name, version)))

    def block(self, spec: str, reason: str = "bad", **more: object) -> str:
        """Create a block; return its id."""
        answer = self.pypid.api("POST", "/api/blocks", {"spec": spec, "reason": reason, **more})
        self.assertEqual(answer.status, 200, answer)
        id = answer.json["id"]
        assert isinstance(id, str)
        return id

    def test_life(self) -> None:
        """A block is created, listed, shown and deleted."""
        id = self.block("Spam == 1.0", "steals tokens", advisory="MAL-2026-1")
        shown = self.pypid.api("GET", f"/api/blocks/{id}").json
        self.assertEqual(
            shown,
            {
                "id": id,
                "spec": "spam==1.0",
                "reason": "steals tokens",
                "advisory": "MAL-2026-1",
                "created": shown["created"],
                "by": "ada",
            },
        )
        self.assertEqual(self.pypid.api("GET", "/api/blocks").json, {"blocks": [shown]})
        self.assertEqual(
            self.pypid.api("DELETE", f"/api/blocks/{id}").json, {"name": id, "removed": True}
        )
        self.assertEqual(self.pypid.api("GET", f"/api/blocks/{id}").status, 404)
        self.assertEqual(self.pypid.api("DELETE", f"/api/blocks/{id}").status, 404)
        self.assertEqual(self.pypid.get(FILE).status, 200)

    def test_reach(self) -> None:
        """The answer names what cannot be revoked."""
        answer = self.pypid.api("POST", "/api/blocks", {"spec": "spam", "reason": "bad"}).json
        self.assertIsNone(answer["links_until"])
        links = Links(self.pypid.blobs, self.pypid.world, timedelta(days=1), timedelta(minutes=5))
        self.patch(self.pypid.app.index, "links", links)
        answer = self.pypid.api("POST", "/api/blocks", {"spec": "eggs", "reason": "bad"}).json
        lasts = [datetime.fromisoformat(answer[name]) for name in ("created", "links_until")]
        self.assertEqual(lasts[1] - lasts[0], timedelta(days=1))
        answer = self.pypid.api("POST", "/api/blocks", {"spec": "spam", "reason": "bad"}).json
        self.assertIn("another web server", answer["not_revoked"][0])

    def test_answer_of_an_installer(self) -> None:
        """A client that asks for the file gets the reason in the phrase and the body."""
        id = self.block("spam==1.0", "steals tokens: s\u00e9crets")
        for target in (FILE, f"{FILE}.metadata"):
            answer = self.pypid.get(target)
            self.assertEqual(answer.status, 403)
            self.assertEqual(answer.reason, f"blocked: steals tokens: s?crets ({id})")
            filename = wheel_filename("spam", "1.0")
            text = f"{filename} is blocked: steals tokens: s\u00e9crets ({id})"
            self.assertEqual(answer.text, f"{text}\n")
        answer = self.pypid.get(FILE, "application/json")
        self.assertIn("steals tokens", answer.json["message"])

    def test_project_that_one_may_not_read(self) -> None:
        """A block of a project shows nothing to clients that may not read it: every answer is as it
        was without the block.
        """
        targets = (PRIVATE_FILE, f"{PRIVATE_FILE}.metadata", "/simple/acme-owned/", "/api/blocks")
        users = (None, "bob")

        def answers() -> list[tuple[int, str, bytes]]:
            found: list[Answer] = [
                self.pypid.get(each, user=user) for each in targets for user in users
            ]
            return [(each.status, each.reason, each.body) for each in found]

        before = answers()
        digest = sha256(wheel("acme-owned", "2.0")).hexdigest()
        self.block("acme-owned==1.0", "secret reason")
        self.block(f"sha256:{digest}", "secret reason")
        self.assertEqual(answers(), before)
        self.assertEqual(self.pypid.get(PRIVATE_FILE, user="alice").status, 403)

    def test_recorded(self) -> None:
        """Each refusal is counted; the audit log has one line for each client and file in an
        hour.
        """
        people = Peopled(self.pypid, Path(self.mktemp()))
        id = self.block("spam==1.0")
        for _ in range(5):
            self.pypid.get(FILE)
            self.pypid.get(FILE, user="alice")

        def lines() -> list[tuple[str, str, str]]:
            entries = people.deeds()
            return [
                (entry.who, entry.subject, entry.details["reference"])
                for entry in entries
                if entry.what == "download refuse"
            ]

        filename = wheel_filename("spam", "1.0")
        self.assertCountEqual(lines(), [("anonymous", filename, id), ("alice", filename, id)])
        self.assertEqual(self.pypid.world.counts.value(WITHHELD, ("blocked",)), 10)
        self.pypid.clock.advance(3601)
        self.pypid.get(FILE)
        self.assertEqual(len(lines()), 3)
