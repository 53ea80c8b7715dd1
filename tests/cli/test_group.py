"""The `group` command: what it does and prints."""

from __future__ import annotations

from pypid.web.app.registry import Configured
from tests.cli.commands import CommandCase


class GroupTests(CommandCase):
    configured = Configured(groups=frozenset({"ops"}))

    def test_life(self) -> None:
        """A group is made, has members, and is removed after a word; an unknown name is refused,
        unless it is meant, and so is to remove a user who is no member.
        """
        self.assertEqual(self.prints("group create devs"), "devs: no members\n")
        self.assertEqual(self.prints("group add-user devs alice"), "devs: alice\n")
        add = "group add-user devs nobody-at-all"
        self.assertIn("spelled right", self.run_command(add)[0])
        self.assertEqual(self.prints(f"{add} --new-name"), "devs: alice nobody-at-all\n")
        remove = "group remove-user devs nobody-at-all"
        self.assertEqual(self.prints(remove), "devs: alice\n")
        self.assertIn("not a member", self.run_command(remove)[0])
        told = self.prints("group list")
        self.assertIn("devs   database       alice\n", told)
        self.assertIn("ops    configuration  (see [groups])\n", told)
        self.assertIn("nothing was deleted", self.run_command("group delete devs", said="y\n")[0])
        self.assertEqual(self.prints("group delete devs --yes"), "devs: deleted\n")
        self.assertIn("[groups]", self.run_command("group add-user ops alice")[0])
