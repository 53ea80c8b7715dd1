"""token, audit, downloads: what they do and print."""

import json
import re
import shlex
from hashlib import sha256

from pypid.cli import parser
from pypid.cli.table import printable
from tests.cli.commands import CommandCase
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import basic

MAKE = "token make --user alice --can publish --can read --project acme-* --expires 30d"


class TokenTests(CommandCase):
    def test_life(self) -> None:
        """A token is made for somebody, its secret printed once; it works, is listed with its last
        use, and is revoked.
        """
        out = self.prints(MAKE, "CI of acme")
        first, second, _ = out.splitlines()
        id, _, rest = first.partition(": ")
        self.assertEqual(
            rest, "usable, CI of acme, of alice, read publish in acme-*, expires 2026-01-31 00:00"
        )
        secret = second.removeprefix("secret: ")
        self.assertTrue(secret.startswith("pypi-"))
        self.assertEqual(
            self.pypid.get("/api/me", None, ("Authorization", f"Bearer {secret}")).status, 200
        )
        listed = self.prints("token list --user alice")
        self.assertIn("192.0.2.7", listed)
        self.assertNotIn(secret, listed)
        self.assertTrue(listed.endswith("1 token\n"))
        self.assertIn("revoked", self.prints(f"token revoke {id}"))
        self.assertEqual(
            self.pypid.get("/api/me", None, ("Authorization", f"Bearer {secret}")).status, 401
        )
        [token] = json.loads(self.prints("token list --json"))["tokens"]
        self.assertEqual((token["id"], token["state"]), (id, "revoked"))

    def test_refused(self) -> None:
        """For nobody, for what there is not, or for what the user may not, there is none."""
        self.assertIn(
            "No user can log in",
            self.run_command("token make x --user nobody-at-all --can read")[0],
        )
        self.assertEqual(self.run_command("token make x --user alice --can fly")[0], 2)
        self.assertEqual(self.run_command("token make x --can read")[0], 2)
        self.assertIn(
            "'bob' may not publish", self.run_command("token make x --user bob --can publish")[0]
        )
        self.assertIn("no token", self.run_command("token revoke nothing")[0])


class AuditTests(CommandCase):
    def test_audit(self) -> None:
        """The log as a table, the newest last, and by who, what and subject; older lines by their
        number.
        """
        self.prints("user add carol")
        self.prints("group add devs")
        self.prints("group join devs carol")
        lines = self.prints("audit").splitlines()
        self.assertEqual(
            [line.split()[4] for line in lines[1:]], ["add-user", "add-group", "join-group"]
        )
        self.assertIn("operator/root", lines[1])
        self.assertIn("this machine", lines[1])
        self.assertIn("admin: no", lines[1])
        self.assertIn(
            "devs/carol",
            self.prints("audit --what join-group --who operator/root --subject devs/carol"),
        )
        self.assertEqual(self.prints("audit --who nobody"), "")
        newest = self.prints("audit --most 1")
        self.assertIn("join-group", newest)
        self.assertTrue(newest.endswith("pypid audit --before 3\n"), newest)
        self.assertIn("add-group", self.prints("audit --most 1 --before 3"))
        self.assertIn("most is a whole number", self.run_command("audit --most 0")[0])
        self.assertEqual(len(json.loads(self.prints("audit --json"))["deeds"]), 3)

    def test_follow(self) -> None:
        """What is done meanwhile is printed as it comes, each line once, until Ctrl-C; for machines
        an object on each line.
        """
        self.prints("user add carol")
        meanwhile = iter([[], ["group", "add", "devs"], [], ["group", "join", "devs", "carol"]])

        def then() -> None:
            words = next(meanwhile, None)
            if words is None:
                raise KeyboardInterrupt
            if words:
                path = "/api/groups" if words[1] == "add" else "/api/groups/devs/members/carol"
                document = {"name": "devs"} if words[1] == "add" else None
                self.pypid.api("POST" if document else "PUT", path, document)

        for option, wanted in (
            ("--follow", "devs/carol"),
            ("--follow --json", '"subject": "devs/carol"'),
        ):
            self.between = then
            status, out, _ = self.run_command(f"audit --most 10 {option}")
            self.assertEqual(status, 130)
            self.assertEqual(len(out.splitlines()), 3)
            self.assertIn(wanted, out.splitlines()[2])

    def test_terminal(self) -> None:
        """What somebody else wrote cannot steer the terminal."""
        self.assertEqual(printable("a\x1b[2Jb\n\u202e\u00e4"), "a\\x1b[2Jb\\n\\u202eä")


class DownloadTests(CommandCase):
    def test_given(self) -> None:
        """Who was given a file, from where; what nobody was given, and what is no digest."""
        self.assertEqual(self.prints(f"downloads {'0' * 64}"), "0 downloads\n")
        self.assertIn("sha256", self.run_command("downloads spam-1.0.tar.gz")[0])
        filename, data = wheel_filename("spam"), wheel("spam")
        put = self.pypid.ask("PUT", f"/packages/py3/s/spam/{filename}", basic("alice"), body=data)
        self.assertEqual(put.status, 200)
        self.pypid.get(f"/packages/spam/{filename}", user="bob")
        out = self.prints(f"downloads {sha256(data).hexdigest()}")
        self.assertIn(f"bob  192.0.2.7  spam     {filename}\n1 download\n", out)


class HelpTests(CommandCase):
    def test_examples(self) -> None:
        """Each command teaches by example, and every example is a command line that can be read."""
        found = 0
        for words in (
            *(
                "user",
                "user add",
                "user password",
                "group",
                "right",
                "token",
                "token make",
                "audit",
                "downloads",
            ),
            *(
                "user list",
                "user show",
                "user admin",
                "group join",
                "right grant",
                "right revoke",
                "token revoke",
            ),
        ):
            status, out, _ = self.run_command(f"{words} --help")
            self.assertEqual(status, 0)
            self.assertIn("usage: pypid " + words, out)
            for line in out.splitlines():
                if (
                    line.startswith(f"  pypid {words.split()[0]}")
                    and "..." not in line
                    and "$(" not in line
                ):
                    found += 1
                    parser().parse_args(shlex.split(re.split(r"\s{3,}|  \(", line.strip())[0])[1:])
        self.assertGreater(found, 20)
