"""What prevents a promotion, and what gates require."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.gates import approver_of, check_gate
from pypid.core.packaging.names import project_name
from pypid.core.promotion_rules import (
    MOST_SHOWN,
    ObstacleKind,
    PromotionObstacle,
    PromotionRefused,
    ReleaseEvidence,
    closed_gates,
)
from pypid.testing.examples import a_file

SPAM = project_name("spam")
ATTEST = "publish the files with their attestations"


class GateTests(SynchronousTestCase):
    """The gates."""

    def closed(self, *gates: str, **evidence: object) -> list[str]:
        files = evidence.pop("files", (a_file(SPAM, "1.0"),))
        names = "staging", "default", SPAM, "1.0"
        release = ReleaseEvidence(*names, files, **evidence)  # type: ignore[arg-type]
        return [str(obstacle) for obstacle in closed_gates(gates, release)]

    def test_known_gates(self) -> None:
        """A gate that pypid does not know is refused where it is set."""
        for gate in (
            "attested",
            "no-critical-advisory",
            "approved-by:tests",
            "approved-by:ci/tests",
        ):
            self.assertEqual(check_gate(gate), gate)
        for gate in ("", "signed", "approved-by:", "approved-by:a/b/c", "Attested"):
            self.assertRaises(ValueError, check_gate, gate)

    def test_attested(self) -> None:
        """Every file of the release needs an attestation."""
        bare, proven = a_file(SPAM, "1.0", attested=False), a_file(SPAM, "1.1")
        self.assertEqual(self.closed("attested", files=(proven,)), [])
        found = self.closed("attested", files=(bare, proven))
        self.assertEqual(
            found, ["spam 1.0: gate attested: no attestation of spam-1.0.tar.gz; " + ATTEST]
        )

    def test_advisories(self) -> None:
        """Unknown advisories close the gate: no advisory is not known to be none."""
        self.assertEqual(self.closed("no-critical-advisory"), [])
        for critical in (None, ("GHSA-1",)):
            self.assertEqual(len(self.closed("no-critical-advisory", critical=critical)), 1)

    def test_approval(self) -> None:
        """A token of this name has approved the release; with a user, a token of that user."""
        for gate, approval, is_open in (
            ("approved-by:tests", ("alice", "tests"), True),
            ("approved-by:tests", ("alice", "other"), False),
            ("approved-by:ci/tests", ("alice", "tests"), False),
            ("approved-by:ci/tests", ("ci", "tests"), True),
        ):
            found = self.closed(gate, approvals=frozenset({approval}))
            self.assertEqual(found == [], is_open, (gate, approval))
        self.assertEqual(len(self.closed("approved-by:tests")), 1)
        self.assertIsNone(approver_of("attested"))

    def test_unknown_gate_is_closed(self) -> None:
        """A document of a newer version may have a gate that this one does not know."""
        self.assertEqual(len(self.closed("blessed")), 1)


class RefusedTests(SynchronousTestCase):
    """The refusal."""

    def test_text_is_bounded(self) -> None:
        """The text names the first reasons, and the number of the others."""
        one = PromotionObstacle(ObstacleKind.YANKED, "spam-1.0.tar.gz", "it is yanked")
        self.assertEqual(
            str(PromotionRefused([one])), "Nothing was promoted. spam-1.0.tar.gz: it is yanked"
        )
        many = str(PromotionRefused([one] * (MOST_SHOWN + 3))).splitlines()
        self.assertEqual(many[0], f"Nothing was promoted, for {MOST_SHOWN + 3} reasons:")
        self.assertEqual(many[1], "- spam-1.0.tar.gz: it is yanked")
        self.assertEqual((len(many), many[-1]), (MOST_SHOWN + 2, "- and 3 more"))

    def test_text_of_a_dry_run(self) -> None:
        """It does not read as if a promotion had been tried."""
        one = PromotionObstacle(ObstacleKind.YANKED, "spam-1.0.tar.gz", "it is yanked")
        self.assertEqual(
            str(PromotionRefused([one], was_tried=False)),
            "The promotion would be refused. spam-1.0.tar.gz: it is yanked",
        )
