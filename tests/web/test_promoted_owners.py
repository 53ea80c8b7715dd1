"""Owners of projects that a promotion brings into an index."""

from __future__ import annotations

from pypid.core.errors import StorageDown
from tests.web.app_with_accounts import have
from tests.web.full_app import Answer
from tests.web.test_owners import SPAM, YANK, IndexOwnersCase

PROMOTIONS = "/api/indexes/default/promotions"


class PromotedOwnersTests(IndexOwnersCase):
    """Promotions from staging to the default index."""

    def promote(self, user: str, version: str = "1.0", **wish: object) -> Answer:
        """The answer to a promotion of spam."""
        wish |= {"source": "staging", "releases": [f"spam=={version}"]}
        return self.by(user, "POST", PROMOTIONS, wish)

    def test_owner_of_the_source(self) -> None:
        """A project that is new in the target has the owner of the source there, who promotes and
        publishes later versions; the user who promoted it first may not.
        """
        self.published(self.upload_to("staging", "carol"))
        self.published(self.upload_to("staging", "carol", "2.0"))
        answer = self.promote("dave")
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(self.owners(), {"staging": "carol", "": "carol"})
        self.assertEqual(self.promote("dave", "2.0").status, 403)
        self.refused(self.upload("dave", "3.0"), 403)
        self.assertEqual(self.by("dave", "PUT", YANK, {"reason": ""}).status, 403)
        self.assertEqual(self.promote("carol", "2.0").status, 200)
        [entry] = [
            each
            for each in self.pypid.api("GET", "/api/audit?action=project%20set-owner").json[
                "entries"
            ]
            if each["user"] == "dave"
        ]
        self.assertEqual((entry["subject"], entry["details"]["user"]), ("spam", "carol"))
        self.assertIsNone(entry["index"])

    def test_owners_off(self) -> None:
        """An owner has no effect while the source has `owners = none`, nor is one stored while the
        target has it.
        """
        self.published(self.upload_to("staging", "carol"))
        self.pypid.api("PATCH", "/api/indexes/staging", {"values": {"owners": "none"}})
        self.assertEqual(self.promote("dave").status, 200)
        self.assertEqual(self.owners(), {"staging": "carol", "": "dave"})
        self.have_index("free", owners="none")
        wish = {"source": "default", "releases": ["spam==1.0"]}
        answer = self.by("carol", "POST", "/api/indexes/free/promotions", wish)
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(self.owners(), {"staging": "carol", "": "dave"})

    def test_owner_by_account(self) -> None:
        """The owner is the account: it stays the owner when it is removed, and a new user of the same
        name owns nothing.
        """
        self.published(self.upload_to("staging", "carol"))
        self.assertEqual(self.promote("dave").status, 200)
        accounts = {owner.account for owner in have(self.people.accounts.owners()).values()}
        self.assertEqual(len(accounts), 1)
        self.assertEqual(self.pypid.api("DELETE", "/api/users/carol").status, 200)
        self.assertEqual(self.owners(), {"staging": "carol", "": "carol"})
        self.pypid.clock.advance(1)
        self.add("carol")
        for user in ("carol", "dave"):
            self.refused(self.upload(user, "2.0"), 403)

    def test_owner_in_the_target(self) -> None:
        """An owner whom the target has stays."""
        self.published(self.upload_to("staging", "carol"))
        answer = self.pypid.api("PUT", "/api/projects/spam/owner", {"user": "dave"})
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(self.promote("carol").status, 403)
        self.assertEqual(self.promote("erin").status, 403)
        self.assertEqual(self.promote("dave").status, 200)
        self.assertEqual(self.owners(), {"staging": "carol", "": "dave"})

    def test_refused_promotion(self) -> None:
        """It claims no name, so that another user can publish the project at once."""
        self.published(self.upload_to("staging", "carol"))
        yanked = self.by("carol", "PUT", f"/staging{YANK}", {"reason": ""})
        self.assertEqual(yanked.status, 200, yanked.text)
        self.assertEqual(self.promote("dave").status, 409)
        self.assertEqual(self.owners(), {"staging": "carol"})
        self.published(self.upload("dave"))

    def test_failed_promotion(self) -> None:
        """A promotion that failed after the claim can be repeated at once, by its user, too; other
        users cannot publish the project meanwhile.
        """
        self.published(self.upload_to("staging", "carol"))

        def fails(key: str) -> StorageDown | None:
            return StorageDown("no space") if key.startswith("spam/") else None

        self.pypid.blobs.failing = fails
        self.assertEqual(self.promote("dave").status, 503)
        self.assertEqual(self.owners(), {"staging": "carol", "": "carol"})
        self.pypid.blobs.failing = lambda key: None
        self.refused(self.upload("dave"), 403)
        self.assertEqual(self.promote("dave").status, 200)
        self.assertEqual(self.promote("dave").status, 403)

    def test_claim_on_another_node(self) -> None:
        """A name that another user has just claimed in the target is not promoted; an owner whom
        another node has just set in the source is used.
        """
        self.published(self.upload_to("staging", "carol"))
        other = self.people.other_node()
        have(other.current.open())
        have(other.claim(("", SPAM), "ldap:dora"))
        self.assertEqual(self.promote("carol").status, 403)
        self.assertEqual(self.pypid.get("/simple/spam/", user="alice").status, 404)
        have(other.set_owner(("", SPAM), None))
        have(self.people.accounts.refresh())
        have(other.set_owner(("staging", SPAM), "ldap:dora"))
        have(other.close())
        self.assertEqual(self.promote("dave").status, 200)
        self.assertEqual(self.owners(), {"staging": "dora", "": "dora"})
