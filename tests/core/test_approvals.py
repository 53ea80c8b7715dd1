"""The rule that decisions about upstream projects make, and which projects wait."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.choices import Mode, NewProjects
from pypid.core.errors import BadName, BadRequest
from pypid.core.model import Presence, Project, as_stored
from pypid.core.policy import Policy, UpstreamState, hidden, page_of_waiting, view, waits
from pypid.core.presentation.explanation import explain
from pypid.core.restrictions import (
    WAITING,
    ApprovalDocument,
    ApprovalVerdict,
    RestrictionsInForce,
    matches,
    parse_spec,
    rules_of,
)
from tests.core.test_policy import NOW, OUR_FILE, SPAM, their_file
from tests.core.test_restrictions import state_of

SPECIFIERS = ("", "<2", "==2.0", ">=2", "!=1.0", "~=1.0")
VERSIONS = ("0.9", "1.0", "2.0rc1", "2.0", "3.0")


def decision(
    specifier: str, verdict: ApprovalVerdict = ApprovalVerdict.APPROVED
) -> ApprovalDocument:
    """A decision about these versions of ``spam``."""
    return ApprovalDocument(
        project=SPAM, specifier=specifier, verdict=verdict, reason="r", by="ada",
        decided=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


class RuleTests(SynchronousTestCase):
    """Which versions the decisions hide."""

    @given(
        st.lists(
            st.tuples(st.sampled_from(SPECIFIERS), st.sampled_from(ApprovalVerdict)), min_size=1
        )
    )
    def test_denials_win_and_approvals_are_complete(
        self, decisions: list[tuple[str, ApprovalVerdict]]
    ) -> None:
        [rule] = rules_of([decision(*each) for each in decisions])[SPAM].rules
        for version in VERSIONS:
            fitting = {verdict for specifier, verdict in decisions if matches(specifier, version)}
            has_approval = any(verdict is ApprovalVerdict.APPROVED for _, verdict in decisions)
            is_hidden = ApprovalVerdict.DENIED in fitting or (has_approval and not fitting)
            hold = rule.hides(their_file(version))
            self.assertEqual(hold is not None, is_hidden, (decisions, version))

    def test_prereleases_are_matched(self) -> None:
        self.assertTrue(matches(">=2.0rc1", "2.0rc1"))

    @given(st.text())
    def test_any_text_is_parsed_or_refused(self, text: str) -> None:
        for spec in (text, f"foo{text}", f"foo=={text}"):
            try:
                name, specifier = parse_spec(spec)
            except (BadRequest, BadName):
                continue
            self.assertEqual(parse_spec(f"{name}{specifier}"), (name, specifier))


class WaitingTests(SynchronousTestCase):
    """Which projects wait."""

    def test_waits_unless_local_cached_approved_or_open(self) -> None:
        listed = their_file("1.0")
        cached = as_stored(listed, key="k", sha256="cd" * 32, size=2)
        approved = rules_of([decision(">=2")])
        denied = rules_of([decision("", ApprovalVerdict.DENIED)])
        for setting, kept, rules, local in product(
            NewProjects, ((), (cached,)), ({}, approved, denied), (False, True)
        ):
            policy = Policy(
                mode=Mode.CACHE,
                new_projects=setting,
                allow_mixed=("*",),
                restrictions=RestrictionsInForce(),
            )
            policy.restrictions.replace("approvals", rules)
            state = evolve(state_of((listed,)), kept=kept)
            ours = Project(name=SPAM, files=(OUR_FILE,)) if local else Presence.ABSENT
            expected = (
                setting is NewProjects.ASK and not kept and rules is not approved and not local
            )
            self.assertIs(waits(policy, ours, state, SPAM), expected)
            shown = view(policy, ours, state, NOW, SPAM)
            if expected:
                self.assertEqual((tuple(shown.files), shown.status_reason), ((), WAITING.reason))

    def test_page_lists_what_is_visible_after_the_approval(self) -> None:
        """Other rules hide files there, too; the explanation names the wait."""
        policy = Policy(
            mode=Mode.CACHE,
            new_projects=NewProjects.ASK,
            require_hashes=True,
            restrictions=RestrictionsInForce(),
        )
        state = state_of((their_file("1.0"), their_file("2.0", sha256=None)))
        page = page_of_waiting(policy, Presence.ABSENT, state, NOW, SPAM)
        self.assertEqual([file.version for file in page.files], ["1.0"])
        self.assertIsNone(hidden(policy, their_file("1.0"), state, frozenset(), NOW))
        explained = explain(policy, SPAM, Presence.ABSENT, state, NOW)
        self.assertEqual({file.because for file in explained.files}, {WAITING})

    def test_nothing_of_upstream(self) -> None:
        """A name without an upstream state does not wait: it may be one that is not disclosed."""
        policy = Policy(mode=Mode.CACHE, new_projects=NewProjects.ASK)
        self.assertFalse(waits(policy, Presence.UNKNOWN, None, SPAM))
        self.assertTrue(waits(policy, Presence.ABSENT, UpstreamState(), SPAM))
