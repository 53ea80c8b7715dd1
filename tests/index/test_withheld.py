"""A file that a rule withholds is refused with the reason, and none of its bytes are given."""

from __future__ import annotations

from pypid.core.errors import NoSuchFile, RestrictionsUnknown, Withheld
from pypid.core.model import Status
from pypid.core.restrictions import ProjectRestrictions
from tests.core.test_restrictions import VersionRule
from tests.index.uploads import SPAM, WHEEL, IndexCase, fetched, sent, signed

RULE = ProjectRestrictions((VersionRule(frozenset(["1.0"])),))


class WithheldTests(IndexCase):
    """Local files."""

    def setUp(self) -> None:
        super().setUp()
        self.restrictions = self.index.policy.restrictions
        self.publish(signed())
        self.publish(sent(filename="spam-2.0-py3-none-any.whl"))
        self.file = self.have(self.index.file(SPAM, WHEEL))

    def test_looked_up_before(self) -> None:
        """A file that was looked up before the rule came is not served after it."""
        self.restrictions.replace("blocks", {SPAM: RULE})
        for attempt in (
            self.index.open(self.file),
            self.index.metadata(self.file),
            self.index.provenance(self.file),
            self.index.link(self.file, lambda name: True),
            self.index.elsewhere(self.file),
        ):
            self.refused(attempt, Withheld)

    def test_quarantined_project_shows_no_block(self) -> None:
        """What is hidden anyway is refused as before."""
        self.restrictions.replace("blocks", {SPAM: RULE})
        self.have(self.index.set_status(SPAM, Status.QUARANTINED, ""))
        self.refused(self.index.file(SPAM, WHEEL), NoSuchFile)

    def test_unknown_restrictions(self) -> None:
        """Until the rules were read, no file is served."""
        self.restrictions.set_known(False)
        self.refused(fetched(self.index, self.file), RestrictionsUnknown)
        self.restrictions.set_known(True)
        self.assertEqual(self.have(fetched(self.index, self.file)), b"spam")
