"""The `block` command: what it says of a new block, and of those that there are."""

from __future__ import annotations

from attrs import evolve

from tests.cli.commands import CommandCase


class BlockTests(CommandCase):
    def test_created(self) -> None:
        """A new block is named, with the trees that drop the files later and what stays."""
        self.pypid.app.settings = evolve(self.pypid.app.settings, trees=("/srv/\x1b[2J",))
        status, out, err = self.run_command("block create acme==1.2 --reason", "steals tokens")
        self.assertEqual((status, err), (None, ""))
        first, pending, limit = out.splitlines()
        self.assertRegex(first, "^acme-[0-9a-f]{8}: acme==1.2 is blocked$")
        self.assertEqual(pending, "pending until its next pass: /srv/\\x1b[2J")
        self.assertTrue(limit.startswith("not revoked: another web server"), limit)

    def test_life(self) -> None:
        """A block is listed, shown and deleted."""
        status, out, _ = self.run_command("block create acme --reason", "steals tokens")
        self.assertIsNone(status)
        id = out.partition(":")[0]
        self.assertIn(id, self.prints("block list"))
        self.assertIn("steals tokens", self.prints(f"block show {id}"))
        self.assertEqual(self.prints(f"block delete {id}"), f"{id}: deleted\n")
        self.assertEqual(self.prints("block list"), "0 blocks\n")
