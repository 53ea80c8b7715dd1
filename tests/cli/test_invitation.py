"""The invitations of the command line: its requests, and what it prints."""

from pypid.daemon.control import ControlRefused
from tests.cli.commands import RecordedCase

SECRET = "pypid-invitation-Xyzzy"
MADE = {"id": "5d" * 12, "secret": SECRET, "expires": "2026-01-08T00:00:01Z"}


class InvitationTests(RecordedCase):
    def test_make(self) -> None:
        """An invitation is printed once, with its id and its end."""
        self.answer = MADE
        status, out, _ = self.run_command("user", "invite", "--expires", "7d")
        self.assertEqual((self.asked[0].method, self.asked[0].url), ("POST", "/api/invitations"))
        self.assertEqual((status, self.asked[0].document), (None, {"expires": "7d"}))
        self.assertEqual(out.count(SECRET), 1)
        self.assertIn("expires 2026-01-08 00:00 UTC", out)

    def test_usual(self) -> None:
        """How long it lasts is the index's affair where nothing is said."""
        self.answer = MADE
        self.run_command("user", "invite", "--json")
        self.assertEqual(self.asked[0].document, {"expires": None})

    def test_withdraw(self) -> None:
        """It says whether there was something to withdraw."""
        for withdrawn, words in ((True, ": deleted"), (False, "used or deleted before")):
            self.answer = {"id": MADE["id"], "withdrawn": withdrawn}
            status, out, _ = self.run_command("user", "delete-invitation", "a/b")
            self.assertEqual((status, self.asked[-1].method), (None, "DELETE"))
            self.assertEqual(self.asked[-1].url, "/api/invitations/a%2Fb")
            self.assertIn(words, out)

    def test_refused(self) -> None:
        """What the daemon says goes to standard error, with status 1."""
        self.answer = ControlRefused("Registration by invitation is off.")
        self.assertIn("by invitation", str(self.run_command("user", "invite")[0]))

    def test_help(self) -> None:
        """The help shows how an invitation is used."""
        self.assertIn("/api/register", self.run_command("user", "invite", "--help")[1])

    def test_list(self) -> None:
        """The open invitations are a table, without their secrets."""
        times = {"created": "2026-01-01T00:00:00Z", "expires": "2026-01-08T00:00:01Z"}
        self.answer = {"invitations": [{"id": MADE["id"], "by": "ada", **times}]}
        status, out, _ = self.run_command("user", "list-invitations")
        self.assertEqual((status, self.asked[0].method), (None, "GET"))
        self.assertIn(f"{MADE['id']}  ada  2026-01-01 00:00  2026-01-08 00:00\n", out)
        self.assertTrue(out.endswith("1 invitation\n"))
