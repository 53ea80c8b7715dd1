"""snapshot: what it does and prints."""

import json

from tests.cli.commands import CommandCase


class SnapshotTests(CommandCase):
    def test_life(self) -> None:
        """A snapshot is made, of now or of a moment, listed, and deleted; each answer says what to
        do with it.
        """
        self.pypid.clock.advance(3 * 86_400)
        out = self.prints("snapshot create release-42 --note customers")
        self.assertEqual(
            out,
            (
                "release-42: the index as of 2026-01-04T00:00:01.500000Z, at "
                "/snapshots/release-42/simple/\n"
            ),
        )
        self.assertIn(
            "as of 2026-01-02T00:00:00Z", self.prints("snapshot create first --at 2026-01-01")
        )
        listed = self.prints("snapshot list")
        self.assertEqual(
            [line.split()[0] for line in listed.splitlines()], ["NAME", "first", "release-42", "2"]
        )
        self.assertIn("customers", listed)
        self.assertIn("operator/root", listed)
        [first, _] = json.loads(self.prints("snapshot list --json"))["snapshots"]
        self.assertEqual(first["moment"], "2026-01-02T00:00:00Z")
        self.assertEqual(self.prints("snapshot delete first"), "first: deleted\n")
        self.assertTrue(self.prints("snapshot list").endswith("1 snapshot\n"))

    def test_refused(self) -> None:
        """What cannot be is refused with the reason."""
        self.prints("snapshot create x")
        self.assertIn("taken", self.run_command("snapshot create x")[0])
        self.assertIn("has not ended", self.run_command("snapshot create y --at 2030-01-01")[0])
        self.assertIn("1 to 64 characters", self.run_command("snapshot create Y")[0])
        self.assertIn("no snapshot 'z'", self.run_command("snapshot delete z")[0])
        self.assertEqual(self.run_command("snapshot create")[0], 2)
