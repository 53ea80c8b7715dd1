"""The `group` command: what it does and prints."""

from __future__ import annotations

from pypid.web.app.registry import Configured
from tests.cli.commands import CommandCase


class GroupTests(CommandCase):
    configured = Configured(groups=frozenset({"ops"}))

    def test_life(self) -> None:
        """A group is made, has members, and is removed after a word; a member whom nobody knows is
        warned of.
        """
        self.assertEqual(self.prints("group create devs"), "devs: no members\n")
        self.assertEqual(self.prints("group add-user devs alice"), "devs: alice\n")
        status, out, err = self.run_command("group add-user devs nobody-at-all")
        self.assertEqual((status, out), (None, "devs: alice nobody-at-all\n"))
        self.assertIn("spelled right", err)
        self.assertEqual(self.prints("group remove-user devs nobody-at-all"), "devs: alice\n")
        told = self.prints("group list")
        self.assertIn("devs   database       alice\n", told)
        self.assertIn("ops    configuration  (see [groups])\n", told)
        self.assertIn("nothing was deleted", self.run_command("group delete devs", said="y\n")[0])
        self.assertEqual(self.prints("group delete devs --yes"), "devs: deleted\n")
        self.assertIn("[groups]", self.run_command("group add-user ops alice")[0])
