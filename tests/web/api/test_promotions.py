"""Promotions over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from attrs import evolve
from twisted.internet.task import Clock

from pypid.core.configuration.choices import Mode
from pypid.core.indexes import IndexSettings
from pypid.core.policy import Policy
from pypid.flow import start
from pypid.index.promotions import IndexPart, PromotionLog, Promotions
from pypid.jobs.leases import Shared
from pypid.ports import Duplicating
from tests.distributions import wheel, wheel_filename
from tests.index.nodes import Told
from tests.support import world
from tests.support.engines import Place, PlacedEngine
from tests.web.full_app import Answer, Pypid, WholeCase
from tests.web.test_index_layers import ALICE, BOTH

TARGET = "/api/indexes/default/promotions"


class PromotionRequestTests(WholeCase):
    """An index staging that alice alone may read, and an index open for alice and bob."""

    def setUp(self) -> None:
        super().setUp()
        staging = IndexSettings(name="staging", bases=(), read=ALICE, write=ALICE)
        both = IndexSettings(name="open", bases=(), read=BOTH, write=BOTH)
        self.upstream = Told(Clock())
        self.upstream.has_not.add("spam")
        self.place = Place()
        self.leases = self.node("this")
        self.pypid = Pypid(
            Path(self.mktemp()),
            indexes=(staging, both),
            policy=Policy(mode=Mode.CACHE),
            upstream=self.upstream,
        )
        log = PromotionLog(self.pypid.blobs, self.pypid.app.world, self.part_of)
        self.pypid.app.promotions = Promotions(log, cast(Duplicating, self.pypid.blobs))
        self.filename = wheel_filename("spam")
        self.published(self.publish(self.filename, wheel("spam"), target="/staging/legacy/"))

    def node(self, name: str) -> Shared:
        """The leases of a process."""
        clock = Clock()
        return Shared(PlacedEngine(clock, self.place), name, world(clock))

    def part_of(self, name: str) -> IndexPart | None:
        index = self.pypid.index if name == "default" else self.pypid.indexes.get(name)
        if index is None:
            return None
        return IndexPart(
            name, evolve(index.context, announced=self.leases.announced), index.context.prefix
        )

    def promote(self, user: str | None = "alice", target: str = TARGET, **more: Any) -> Answer:
        body = {"source": "staging", "releases": ["spam==1.0"], **more}
        return self.pypid.ask("POST", target, user=user, body=json.dumps(body).encode())

    def test_release_is_promoted_by_those_who_may(self) -> None:
        """A dry run changes nothing; a second promotion finds nothing to do."""
        self.assertEqual(self.pypid.get("/simple/spam/", None, user="alice").status, 404)
        for dry_run in (True, False):
            answer = self.promote(dry_run=dry_run)
            self.assertEqual(answer.status, 200, answer.text)
            self.assertEqual(json.loads(answer.body)["files"], {"spam": [self.filename]})
            listed = self.pypid.get("/simple/spam/", None, user="alice").status
            self.assertEqual(listed, 404 if dry_run else 200)
        self.assertEqual(json.loads(self.promote().body)["files"], {})

    def test_leases_of_a_crashed_process_do_not_hide_that_nothing_is_left_to_do(self) -> None:
        """Until they end, what is promoted already is 200; anything else may be tried again."""
        crashed = self.node("crashed").announced(f"spam/{self.filename}")
        self.successResultOf(start(crashed.__aenter__()))
        answer = self.promote()
        self.assertEqual((answer.status, answer["retry-after"]), (409, "30"), answer.text)
        self.assertIn("another client", answer.text)
        self.successResultOf(start(crashed.__aexit__(None, None, None)))
        self.assertEqual(self.promote().status, 200)
        self.successResultOf(
            start(self.node("crashed").announced(f"spam/{self.filename}").__aenter__())
        )
        answer = self.promote()
        self.assertEqual(answer.status, 200, answer.text)
        self.assertEqual(json.loads(answer.body)["files"], {})

    def test_rights_on_both_indexes_are_needed(self) -> None:
        """Who may not read the source learns nothing of what it has."""
        for releases in (["spam==1.0"], ["spam==9"], ["missing==1.0"]):
            answer = self.promote("bob", "/api/indexes/open/promotions", releases=releases)
            self.assertEqual(answer.status, 403, answer.text)
        self.assertEqual(self.promote(None).status, 401)
        self.assertEqual(self.promote(target="/api/indexes/missing/promotions").status, 404)
        self.assertEqual(self.promote(releases=["spam"]).status, 400)
        self.assertEqual(self.promote(releases=["spam==9"]).status, 404)

    def test_list_names_no_index_that_one_may_not_read(self) -> None:
        """Nor one that was deleted, whose rules are unknown."""
        self.assertEqual(self.promote(target="/api/indexes/open/promotions").status, 200)
        self.assertEqual(self.listed("alice"), [("staging", "open", ["spam==1.0"])])
        self.assertEqual(self.listed("bob"), [("", "open", ["spam==1.0"])])
        self.assertEqual(self.pypid.get("/api/promotions", None).status, 401)
        kept = self.pypid.indexes.settings["open"]
        self.pypid.configure(kept)
        self.assertEqual(self.listed("alice"), [("", "open", ["spam==1.0"])])
        self.assertEqual(self.listed("ada"), [("staging", "open", ["spam==1.0"])])
        self.pypid.configure()
        self.assertEqual(self.listed("bob"), [])
        self.assertEqual(self.listed("ada"), [("staging", "open", ["spam==1.0"])])

    def listed(self, user: str) -> list[tuple[str, str, list[str]]]:
        """Return source, target and releases of the promotions that this user sees."""
        found = self.pypid.get("/api/promotions", None, user=user).json["promotions"]
        return [(each["source"], each["target"], each["releases"]) for each in found]

    def test_name_that_is_used_from_upstream_is_not_taken(self) -> None:
        """An index that mixes its files with upstream's does not make the name private: promoting
        from it is taking the name, as an upload is.
        """
        staging, both = self.pypid.indexes.settings["staging"], self.pypid.indexes.settings["open"]
        self.upstream.has_not.clear()
        self.pypid.configure(evolve(staging, bases=("default",), allow_mixed=("spam",)), both)
        self.assertEqual(self.pypid.get("/simple/spam/", None, user="alice").status, 200)
        answer = self.promote(target="/api/indexes/open/promotions")
        self.assertEqual(answer.status, 403, answer.text)
        self.assertIn("exists in the upstream index", answer.text)
