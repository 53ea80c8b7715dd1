"""Promotions over HTTP: lists, moving, and private names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pypid.core.packaging.names import project_name
from pypid.core.records.documents import PROMOTIONS as PROMOTED
from pypid.index.named_indexes import marker_key
from tests.distributions import wheel, wheel_filename
from tests.web.api.test_tokens import TokenCase
from tests.web.app_with_accounts import Peopled
from tests.web.full_app import Answer, Fragile, Pypid

PROMOTIONS = "/api/indexes/default/promotions"
LISTED = "/api/promotions?index=default"
WISH = {"source": "staging", "releases": ["spam==1.0"]}


class PromotedCase(TokenCase):
    """An index staging with spam 1.0, where alice may publish and delete, and the default index;
    carol may read in both.
    """

    def setUp(self) -> None:
        super().setUp()
        self.pypid = Pypid(Path(self.mktemp()), indexes=())
        self.people = Peopled(self.pypid, Path(self.mktemp()))
        self.add("carol")
        values = {"bases": "none", "write": "alice", "volatile": "yes"}
        made = self.pypid.api("POST", "/api/indexes", {"name": "staging", "values": values})
        self.assertEqual(made.status, 201, made.text)
        self.filename = wheel_filename("spam")
        self.published(self.publish(self.filename, wheel("spam"), target="/staging/legacy/"))

    def promote(self, user: str = "alice", **more: Any) -> Answer:
        return self.pypid.api("POST", PROMOTIONS, {**WISH, **more}, user=user)

    def is_listed(self, index: str = "") -> bool:
        return self.pypid.get(f"{index}/simple/spam/", None, user="alice").status == 200


class ListTests(PromotedCase):
    """The list of promotions, and moving."""

    def test_list(self) -> None:
        """Users see the promotions of projects that they may publish; the source only if they may
        read it.
        """
        self.assertEqual(self.pypid.api("GET", LISTED).json["promotions"], [])
        promoted = self.promote().json
        [found] = self.pypid.api("GET", f"{LISTED}&limit=5", user="alice").json["promotions"]
        self.assertEqual(found["id"], promoted["id"])
        self.assertEqual((found["source"], found["by"]), ("staging", "alice"))
        self.assertEqual(found["state"], "done")
        self.assertEqual(found["releases"], ["spam==1.0"])
        self.pypid.api("PATCH", "/api/indexes/staging", {"values": {"read": "ada", "write": "ada"}})
        [found] = self.pypid.api("GET", LISTED, user="alice").json["promotions"]
        self.assertEqual(found["source"], "")
        granted = self.pypid.api("PUT", "/api/projects/spam/rights/user/ada", {"right": "rw"})
        self.assertEqual(granted.status, 200, granted.text)
        self.assertEqual(self.pypid.api("GET", LISTED, user="alice").json["promotions"], [])
        self.assertEqual(self.by("carol", "GET", LISTED).json["promotions"], [])
        hidden = self.by("carol", "GET", "/api/promotions?index=staging")
        self.assertEqual(hidden.status, 404)
        other = self.pypid.api("GET", "/api/promotions?index=staging")
        self.assertEqual(other.json["promotions"], [])
        self.assertEqual(self.pypid.api("GET", "/api/promotions?index=none").status, 404)

    def test_move(self) -> None:
        """The files are deleted in the source after they are listed in the target; both are
        recorded.
        """
        self.assertEqual(self.promote(move=True).status, 200)
        self.assertTrue(self.is_listed())
        page = self.pypid.get("/staging/simple/spam/", None, user="alice")
        self.assertNotIn(self.filename, page.text)
        entries = self.pypid.api("GET", "/api/audit").json["entries"]
        whats = [each["action"] for each in entries]
        self.assertIn("promote", whats)
        self.assertIn("promote --move", whats)

    def test_move_needs_the_right_to_delete(self) -> None:
        """Nothing is promoted without it."""
        values = {"volatile": "no", "delete": "ada"}
        self.pypid.api("PATCH", "/api/indexes/staging", {"values": values})
        self.assertEqual(self.promote(move=True).status, 403)
        self.assertFalse(self.is_listed())
        self.assertEqual(self.promote().status, 200)


class PrivateNameTests(PromotedCase):
    """Promotions into a named index."""

    def test_name_is_private_before_the_commit(self) -> None:
        """The marker is written before the document that commits the promotion: after a crash
        between the two no index sends the name upstream.
        """
        values = {"bases": "none", "write": "alice"}
        self.pypid.api("POST", "/api/indexes", {"name": "live", "values": values})
        written: list[str] = []
        blobs = self.pypid.blobs
        assert isinstance(blobs, Fragile)
        self.patch(blobs, "failing", written.append)
        answer = self.pypid.api("POST", "/api/indexes/live/promotions", WISH, user="alice")
        self.assertEqual(answer.status, 200, answer.text)
        self.assertTrue(self.is_listed("/live"))
        marker = written.index(marker_key(project_name("spam"), "live"))
        commit = written.index(f"{PROMOTED}{answer.json['id']}.json")
        record = next(n for n, key in enumerate(written) if key.startswith(".pypid/index/live/"))
        self.assertLess(marker, commit)
        self.assertLess(commit, record)
