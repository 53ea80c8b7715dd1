"""The rules of stages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.indexes import (
    IndexSettings,
    Publication,
    document_of,
    settings_of_document,
)
from pypid.core.permissions import Action, Identity, Principals, Scope
from pypid.core.stages import (
    GRACE,
    INTERRUPTED,
    KEPT,
    StageState,
    is_interrupted,
    is_removable,
    lifetime_of,
    may_use,
    new_stage,
    random_stage_name,
    stage_name,
    stages_of,
    state_of,
)

NOW = datetime(2026, 8, 1, 12, 30, 15, 123456, tzinfo=UTC)
DAY, MOMENT = timedelta(days=1), timedelta(seconds=1)


def stage(**more: object) -> IndexSettings:
    """A stage of alice's, which bob may write to."""
    made = new_stage("stage-x", "default", "alice", NOW, DAY, write=Principals.parse("bob"))
    return evolve(made, **more)


class StageTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Each name begins with `stage-`, which a user may leave out."""
        self.assertEqual(stage_name("a"), "stage-a")
        self.assertEqual(stage_name("stage-a"), "stage-a")
        for wrong in ("", "stage-", "A", "a/b", "a" * 40, "a\n"):
            self.assertRaises(ValueError, stage_name, wrong)
        name = random_stage_name(lambda size: bytes(range(0, size * 30, 30)))
        self.assertEqual(name, stage_name(name))
        self.assertEqual(len(set(name.removeprefix("stage-"))), 8)

    def test_lifetimes(self) -> None:
        """From a minute to 30 days."""
        self.assertEqual(lifetime_of(""), 7 * DAY)
        self.assertEqual(lifetime_of("30d"), 30 * DAY)
        for wrong in ("31d", "59s", "0", "-1d", "1w", "tomorrow"):
            self.assertRaises(ValueError, lifetime_of, wrong)

    def test_document(self) -> None:
        """It keeps all of a stage; a time has whole seconds."""
        for publication in (None, Publication(NOW), Publication(NOW, NOW, "an id")):
            made = stage(publication=publication)
            self.assertEqual(settings_of_document(document_of(made)), made)

    def test_base(self) -> None:
        """A stage has one base, in which something can be published; other indexes have none."""
        self.assertEqual(stage().target, "default")
        self.assertIsNone(IndexSettings(name="team").target)
        for base, owner in (("public", "alice"), ("default", ""), ("default", "a b")):
            self.assertRaises(ValueError, new_stage, "stage-x", base, owner, NOW)

    def test_states(self) -> None:
        """A publication that has begun counts more than the end of the stage."""
        later = NOW + 2 * DAY
        for publication, now, state in (
            (None, NOW, StageState.OPEN),
            (None, later, StageState.EXPIRED),
            (Publication(NOW), NOW, StageState.PUBLISHING),
            (Publication(NOW), later, StageState.PUBLISHING),
            (Publication(NOW, NOW), later, StageState.PUBLISHED),
        ):
            self.assertIs(state_of(stage(publication=publication), now), state)

    def test_users(self) -> None:
        """The creator, those in `write`, and administrators; tokens need the scope to publish."""
        reading, writing = (Scope(frozenset({each})) for each in (Action.READ, Action.WRITE))
        publisher = Identity("ci", scope=writing, publisher=True)
        for who, expected in (
            (Identity("alice"), True),
            (Identity("bob"), True),
            (Identity("carol"), False),
            (Identity("carol", admin=True), True),
            (Identity(), False),
            (Identity("alice", scope=reading), False),
            (Identity("alice", scope=writing), True),
            (publisher, False),
            (evolve(publisher, as_user="alice"), True),
        ):
            self.assertIs(may_use(stage(), who), expected, who)

    def test_number(self) -> None:
        """Published and expired stages, indexes, and stages of others do not count."""
        found = [
            stage(),
            stage(publication=Publication(NOW)),
            stage(publication=Publication(NOW, NOW)),
            stage(expires=NOW),
            stage(created_by="bob"),
            IndexSettings(name="team", created_by="alice"),
        ]
        self.assertEqual(stages_of("alice", found, NOW), 2)

    def test_ends(self) -> None:
        """When a stage is removed, and when a publication has broken off."""
        made = stage()
        assert made.expires is not None
        self.assertFalse(is_removable(made, made.expires + GRACE - MOMENT))
        self.assertTrue(is_removable(made, made.expires + GRACE))
        done = stage(publication=Publication(NOW, NOW), expires=NOW + 9 * DAY)
        self.assertFalse(is_removable(done, NOW + KEPT - MOMENT))
        self.assertTrue(is_removable(done, NOW + KEPT))
        self.assertFalse(is_interrupted(done, NOW + INTERRUPTED))
        begun = stage(publication=Publication(NOW))
        self.assertFalse(is_interrupted(begun, NOW + INTERRUPTED - MOMENT))
        self.assertTrue(is_interrupted(begun, NOW + INTERRUPTED))
