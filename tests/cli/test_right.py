"""The `right` command: what it does and prints."""

from __future__ import annotations

from attrs import evolve

from pypid.cli.right import right_url
from pypid.core.accounts.rights import Right, Whom
from pypid.core.configuration.choices import Owners
from pypid.core.packaging.names import project_name
from pypid.web.app.registry import Configured
from tests.cli.commands import CommandCase
from tests.web.app_with_accounts import have


class RightTests(CommandCase):
    configured = Configured(rights=(Right(project_name("eggs"), Whom.USER, "bob", True),))

    def test_spelled(self) -> None:
        """Whom a right is for is spelled as in the configuration: a bare name is a user; odd ones
        are quoted.
        """
        for whom, path in (
            ("carol", "user/carol"),
            ("user:carol", "user/carol"),
            ("group:devs", "group/devs"),
            ("everyone", "everyone"),
            ("authenticated", "authenticated"),
            ("a/b c", "user/a%2Fb%20c"),
        ):
            self.assertEqual(right_url("spam", whom), f"/api/projects/spam/rights/{path}")
        self.assertEqual(right_url("../x", "y"), "/api/projects/..%2Fx/rights/user/y")

    def test_life(self) -> None:
        """A right is given, with a warning if it is the first, listed with its origin, and taken
        away.
        """
        status, out, err = self.run_command("right grant Spam alice rw")
        self.assertEqual(status, None)
        self.assertIn("user:alice  rw     database\n", out)
        self.assertIn(
            "spam: read by alice, published by alice (the rights above), and by administrators\n",
            out,
        )
        self.assertIn("first right of spam", err)
        self.assertEqual(len(have(self.people.accounts.rights())), 1)
        whole = self.prints("right list")
        self.assertIn("  read = everyone\n", whole)
        self.assertIn("eggs     user:bob    rw     configuration\n", whole)
        _, out, err = self.run_command("right revoke spam alice")
        self.assertIn("admins  rw     database\n", out)
        self.assertIn("pypid right revoke spam admins", err)
        _, out, err = self.run_command("right revoke spam admins")
        self.assertIn("(defaults of [access])", out)
        self.assertIn("The defaults (", err)
        self.assertIn("[projects]", self.run_command("right revoke eggs bob")[0])
        self.assertIn("published by bob", self.prints("right list eggs"))

    def test_refused(self) -> None:
        """Nonsense is refused: a right that is none is a wrong command line, the
        rest pypid's text.
        """
        self.assertEqual(self.run_command("right grant spam alice w")[0], 2)
        for whom in "team:x", "group:", ":x":
            self.assertTrue(
                str(self.run_command("right grant spam", whom, "r")[0]).startswith("pypid: "), whom
            )
        self.assertEqual(have(self.people.accounts.rights()), ())

    def test_owner_without_effect(self) -> None:
        """`explain` says that owners are off."""
        self.prints("project set-owner spam alice")
        for ownership, line in (
            (Owners.NONE, "Owner: alice (no effect: owners = none)\n"),
            (Owners.UPLOADER, "Owner: alice\n"),
        ):
            self.people.defaults = evolve(self.people.defaults, ownership=ownership)
            self.people._apply()
            self.assertIn(line, self.prints("right explain alice spam"))
