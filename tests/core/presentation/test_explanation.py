"""Why a client sees what it sees: `pypid.core.presentation.explanation` says what
`pypid.core.policy` does.
"""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import Presence, Project, StoredFile
from pypid.core.policy import Hidden, Policy, UpstreamState, asks_upstream, may_show_upstream, view
from pypid.core.presentation.explanation import (
    NameStatus,
    explain,
)
from tests.core.test_policy import NOW, OURS, POLICIES, SPAM, THEIRS

many = settings(max_examples=30, deadline=None, database=None)
YOUNG = (Hidden.COOLDOWN, Hidden.TOO_NEW)


class AgreementTests(SynchronousTestCase):
    """For every policy, and all that may be ours and theirs."""

    @many
    @given(POLICIES, OURS, THEIRS)
    def test_as_the_view(
        self, policy: Policy, ours: Project | Presence, theirs: UpstreamState | None
    ) -> None:
        """The files that it calls visible are those of the view, ours as ours and theirs as theirs,
        kept ones as kept.
        """
        known = theirs or UpstreamState()
        seen = view(policy, ours, known, NOW, SPAM)
        own = ours.files if isinstance(ours, Project) else ()
        why = explain(policy, SPAM, ours, known, NOW)
        expected = sorted(
            (file.filename, file in own, file not in own and isinstance(file, StoredFile))
            for file in seen.files
        )
        self.assertEqual(
            sorted((file.filename, file.ours, file.kept) for file in why.files if file.visible),
            expected,
        )
        for file in seen.files:
            self.assertTrue(why.file(file.filename).visible)

    @many
    @given(POLICIES, OURS, THEIRS)
    def test_all_are_there(
        self, policy: Policy, ours: Project | Presence, theirs: UpstreamState | None
    ) -> None:
        """Every file that anything is known of is explained once, and a name that nobody has spoken
        of is, too.
        """
        known = theirs or UpstreamState()
        why = explain(policy, SPAM, ours, known, NOW)
        listed = () if known.listing is None or known.listing.files is None else known.listing.files
        names = {file.filename for file in (*listed, *known.kept)}
        self.assertEqual(
            sorted(file.filename for file in why.files if not file.ours), sorted(names)
        )
        own = ours.files if isinstance(ours, Project) else ()
        self.assertEqual(
            [file.filename for file in why.files if file.ours], [file.filename for file in own]
        )
        self.assertFalse(why.file("spam-77.tar.gz").visible)

    @many
    @given(POLICIES, OURS, THEIRS)
    def test_as_the_rules(
        self, policy: Policy, ours: Project | Presence, theirs: UpstreamState | None
    ) -> None:
        """Whether the name may be told, and files of theirs shown, is what the rules say."""
        why = explain(policy, SPAM, ours, theirs or UpstreamState(), NOW)
        self.assertEqual(why.not_requested is None, asks_upstream(policy, SPAM, ours))
        self.assertEqual(why.not_shown is None, may_show_upstream(policy, SPAM, ours))
        if why.not_requested is None:
            self.assertIn(why.status, (NameStatus.UPSTREAM, NameStatus.MIXED))
        if ours is Presence.UNKNOWN:
            self.assertIs(why.status, NameStatus.UNKNOWN)

    @many
    @given(POLICIES, OURS, THEIRS)
    def test_until(
        self, policy: Policy, ours: Project | Presence, theirs: UpstreamState | None
    ) -> None:
        """A file that is to become visible at a time is not hidden for its age from then on, and is
        until just before.
        """
        known = theirs or UpstreamState()
        for file in explain(policy, SPAM, ours, known, NOW).files:
            if file.until is not None:
                self.assertIn(file.because, YOUNG)
                for earlier, hides in ((timedelta(seconds=1), True), (timedelta(), False)):
                    [then] = [
                        each
                        for each in explain(policy, SPAM, ours, known, file.until - earlier).files
                        if (each.filename, each.ours) == (file.filename, file.ours)
                    ]
                    self.assertEqual(then.because in YOUNG, hides)
