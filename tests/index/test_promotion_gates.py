"""Gates, with evidence from the storage."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from msgspec.structs import replace

from pypid.core.packaging.names import ProjectName
from pypid.core.promotion_rules import PromotionObstacle
from pypid.core.records.promotions import APPROVALS
from pypid.flow import BytesBody
from pypid.index.promotion_checks import IndexPart
from pypid.index.promotion_gates import PromotionGates, no_advisories
from pypid.testing.worlds import contents
from tests.index.test_promotions import EGGS, PromotionCase
from tests.index.uploads import SPAM


class GatesTests(PromotionCase):
    """What the gates of an index say of the files of the index staging."""

    gates: tuple[str, ...] = ("approved-by:tests",)

    @property
    def source(self) -> IndexPart:
        return self.node.parts["staging"]

    def judge(self, *gates: str, critical: object = no_advisories) -> PromotionGates:
        return PromotionGates(
            self.store,
            self.node.default.world,
            {"default": gates or self.gates}.__getitem__,
            critical,  # type: ignore[arg-type]
        )

    def obstacles(self, judge: PromotionGates, name: ProjectName = SPAM) -> Sequence[str]:
        files = self.have(self.node.staging.context.known(name)).files
        found: Sequence[PromotionObstacle] = self.have(
            judge.obstacles(self.source, self.node.parts["default"], {name: files})
        )
        return [str(obstacle) for obstacle in found]

    def test_approval_opens_the_gate(self) -> None:
        """It is stored, and holds for the files that were approved, in this release only."""
        judge = self.judge()
        self.assertEqual(len(self.obstacles(judge)), 1)
        files = self.have(self.node.staging.context.known(SPAM)).files
        part = self.node.parts["default"]
        self.have(judge.approve(part, {SPAM: files}, "ci", "tests"))
        self.assertEqual(self.obstacles(self.judge()), [])
        self.assertEqual(len(self.obstacles(judge, EGGS)), 1)
        changed = [replace(files[0], sha256="0" * 64), *files[1:]]
        self.assertEqual(len(self.have(judge.obstacles(self.source, part, {SPAM: changed}))), 1)
        self.assertEqual(len(self.have(judge.obstacles(self.source, part, {SPAM: files[:1]}))), 1)

    def test_approval_is_for_one_index(self) -> None:
        """Who may read the files in another index alone approves nothing for this one."""
        names = {"default": self.gates, "team": self.gates}
        judge = PromotionGates(self.store, self.node.default.world, names.__getitem__)
        files = self.have(self.node.staging.context.known(SPAM)).files
        other = evolve(self.node.parts["default"], name="team")
        self.have(judge.approve(other, {SPAM: files}, "ci", "tests"))
        self.assertEqual(self.have(judge.obstacles(self.source, other, {SPAM: files})), [])
        self.assertEqual(len(self.obstacles(judge)), 1)

    def test_damaged_approval_does_not_count(self) -> None:
        """What cannot be read opens nothing."""
        judge = self.judge()
        files = self.have(self.node.staging.context.known(SPAM)).files
        part = self.node.parts["default"]
        self.have(judge.approve(part, {SPAM: files}, "ci", "tests"))
        for where in self.have(contents(self.store, APPROVALS)):
            self.have(self.store.write(where, BytesBody(b"{"), replace=True))
        self.assertEqual(len(self.obstacles(judge)), 1)

    def test_advisories_that_are_not_known_close_the_gate(self) -> None:
        """No advisory is known to be none only after the advisories were read."""
        gate = "no-critical-advisory"
        self.assertEqual(len(self.obstacles(self.judge(gate))), 1)
        self.assertEqual(self.obstacles(self.judge(gate, critical=lambda *_: ())), [])
        found = self.obstacles(self.judge(gate, critical=lambda *_: ("GHSA-1",)))
        self.assertIn("GHSA-1", found[0])

    def test_index_without_gates_reads_nothing(self) -> None:
        """Most indexes have none."""
        judge = PromotionGates(self.store, self.node.default.world, lambda name: ())
        self.assertEqual(self.obstacles(judge), [])
