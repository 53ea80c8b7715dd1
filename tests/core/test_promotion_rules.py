"""What prevents a promotion."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import project_name
from pypid.core.promotion_rules import (
    MOST_SHOWN,
    ObstacleKind,
    PromotionObstacle,
    PromotionRefused,
)

SPAM = project_name("spam")


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
