"""The `user` command: what it does and prints."""

from __future__ import annotations

from pypid.core.errors import StorageDown
from tests.cli.commands import CommandCase
from tests.web.full_app import basic


class UserTests(CommandCase):
    def log_in(self, user: str, password: str) -> int:
        """The status of a request by them."""
        return self.pypid.get("/api/me", None, basic(user, password)).status

    def test_made(self) -> None:
        """A new account's password is made and printed, once, and is right."""
        out = self.prints("user create carol")
        self.assertTrue(
            out.startswith("carol: active, from the accounts database\npassword: "), out
        )
        self.assertEqual(self.log_in("carol", out.splitlines()[1].removeprefix("password: ")), 200)
        self.assertNotIn("password", self.prints("user show carol"))

    def test_starting(self) -> None:
        """Accounts that are not read yet are neither a missing capability nor an empty list."""
        self.pypid.app.closed = StorageDown("the accounts are still being fetched from it.")
        for registry in (self.pypid.app.registry, None):
            self.pypid.app.registry = registry
            status, _, _ = self.run_command("user list")
            self.assertIn("the accounts are still being fetched", str(status))

    def test_stdin(self) -> None:
        """A script gives the password by standard input; it is never an argument,
        and not printed.
        """
        out = self.prints("user create carol --admin --stdin", said="a pass word\n")
        self.assertEqual(out, "carol: active, an administrator, from the accounts database\n")
        self.assertEqual(self.log_in("carol", "a pass word"), 200)
        self.assertEqual(
            self.prints("user set-password carol --stdin", said="another one\n"),
            "carol: the password was set\n",
        )
        self.assertEqual(
            (self.log_in("carol", "a pass word"), self.log_in("carol", "another one")), (401, 200)
        )
        self.assertEqual(self.run_command("user create erin --password x")[0], 2)
        status, _, _ = self.run_command("user create erin --stdin", said="\n")
        self.assertIn("no account was made", status)
        self.assertNotIn("erin", self.prints("user list"))

    def test_changed(self) -> None:
        """Somebody becomes an administrator and none again; an account is disabled, enabled, and
        removed after a word.
        """
        self.prints("user create carol")
        self.assertIn("an administrator", self.prints("user set-admin carol"))
        self.assertNotIn("an administrator", self.prints("user set-admin carol --remove"))
        self.assertIn("disabled", self.prints("user disable carol"))
        self.assertIn("active", self.prints("user enable carol"))
        for said in "no\n", "":
            self.assertIn(
                "nothing was deleted", self.run_command("user delete carol", said=said)[0]
            )
        self.assertTrue(
            self.prints("user delete carol", said="carol\n").endswith("carol: deleted\n")
        )
        self.assertEqual(self.run_command("user show carol")[0].count("no account"), 1)

    def test_by_whom(self) -> None:
        """The audit log has the account that ran the command, and no address."""
        self.prints("user create carol")
        [deed] = self.people.deeds()
        self.assertEqual(
            (deed.who, deed.what, deed.subject, deed.where),
            ("operator/root", "user create", "carol", ""),
        )


class NoLoginTests(CommandCase):
    accounts_log_in = False

    def test_account_that_could_not_log_in(self) -> None:
        """No account is created that could not log in; the error says what to write where."""
        status, out, _ = self.run_command("user create carol")
        self.assertIn("No account was created. Users of the accounts database cannot", status)
        self.assertIn("backend = config sql", status)
        self.assertEqual(out, "")
        self.assertNotIn("carol", self.prints("user list"))
