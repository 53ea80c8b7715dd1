"""The drill of a restore: what it takes for a difference."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pypid.cli.drill import ExpectedProject, page_differences

EXPECTED = ExpectedProject(
    {"spam-1.0.tar.gz": "ab", "spam-2.0.tar.gz": "cd"}, frozenset({"spam-2.0.tar.gz"})
)


def page(*files: tuple[str, str, object], **more: object) -> dict[str, Any]:
    return {
        "files": [
            {"filename": name, "hashes": {"sha256": digest}, "yanked": yanked}
            for name, digest, yanked in files
        ],
        **more,
    }


class DifferenceTests(SynchronousTestCase):
    first, second = ("spam-1.0.tar.gz", "ab", False), ("spam-2.0.tar.gz", "cd", "broken")

    def differences(self, document: dict[str, Any]) -> list[str]:
        return page_differences("spam", document, EXPECTED)

    def test_equal_pages(self) -> None:
        """A page with the same files is equal, and so is that of a quarantined project."""
        self.assertEqual(self.differences(page(self.first, self.second)), [])
        quarantined = page(**{"project-status": {"status": "quarantined"}})
        self.assertEqual(self.differences(quarantined), [])

    def test_each_difference_is_named(self) -> None:
        """Missing and further files, other hashes and other yanks are differences."""
        self.assertEqual(self.differences(page(self.first)), ["spam: spam-2.0.tar.gz is missing"])
        third = ("spam-3.0.tar.gz", "ef", False)
        self.assertEqual(
            self.differences(page(self.first, self.second, third)),
            ["spam: spam-3.0.tar.gz is not in the backup"],
        )
        changed = page(("spam-1.0.tar.gz", "xy", True), ("spam-2.0.tar.gz", "cd", False))
        self.assertEqual(
            self.differences(changed),
            [
                "spam: spam-1.0.tar.gz has another hash",
                "spam: spam-1.0.tar.gz is yanked in one of the two only",
                "spam: spam-2.0.tar.gz is yanked in one of the two only",
            ],
        )
