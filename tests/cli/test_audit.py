"""The `audit` and `downloads` commands: what they print."""

from __future__ import annotations

import json
from hashlib import sha256

from pypid.cli.output import printable
from tests.cli.commands import CommandCase
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import basic


class AuditTests(CommandCase):
    def test_audit(self) -> None:
        """The log as a table, the newest last, and by who, what and subject; older lines by their
        number.
        """
        self.prints("user create carol")
        self.prints("group create devs")
        self.prints("group add-user devs carol")
        lines = self.prints("audit").splitlines()
        self.assertEqual(
            [" ".join(line.split()[4:6]) for line in lines[1:]],
            ["user create", "group create", "group add-user"],
        )
        self.assertIn("operator/root", lines[1])
        self.assertIn("this machine", lines[1])
        self.assertIn("admin: no", lines[1])
        self.assertIn(
            "devs/carol",
            self.prints(
                "audit --who operator/root --subject devs/carol --action", "group add-user"
            ),
        )
        self.assertEqual(self.prints("audit --who nobody"), "")
        newest = self.prints("audit --most 1")
        self.assertIn("group add-user", newest)
        self.assertTrue(newest.endswith("pypid audit --before 3\n"), newest)
        self.assertIn("group create", self.prints("audit --most 1 --before 3"))
        self.assertIn(
            "did you mean 'user create'?", self.run_command("audit --action user-create")[0]
        )
        self.assertIn("most is a whole number", self.run_command("audit --most 0")[0])
        self.assertEqual(len(json.loads(self.prints("audit --json"))["entries"]), 3)

    def test_follow(self) -> None:
        """What is done meanwhile is printed as it comes, each line once, until Ctrl-C; for machines
        an object on each line.
        """
        self.prints("user create carol")
        meanwhile = iter(
            [[], ["group", "create", "devs"], [], ["group", "add-user", "devs", "carol"]]
        )

        def then() -> None:
            words = next(meanwhile, None)
            if words is None:
                raise KeyboardInterrupt
            if words:
                path = "/api/groups" if words[1] == "create" else "/api/groups/devs/members/carol"
                document = {"name": "devs"} if words[1] == "create" else None
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
        """Who downloaded the files of a project, of a release, one file, or bytes by their digest;
        what does not exist is refused.
        """
        self.assertEqual(self.prints(f"downloads {'0' * 64}"), "0 downloads\n")
        for version in "1.0", "2.0":
            filename, data = wheel_filename("spam", version), wheel("spam", version)
            target = f"/packages/py3/s/spam/{filename}"
            put = self.pypid.ask("PUT", target, basic("alice"), body=data)
            self.assertEqual(put.status, 200)
            self.pypid.get(f"/packages/spam/{filename}", user="bob")
        line = f"bob  192.0.2.7  spam     {filename}\n1 download\n"
        for words in (
            sha256(data).hexdigest(),
            "spam 2",
            f"spam {filename}",
            "Spam --most 1",
        ):
            self.assertIn(line, self.prints(f"downloads {words}"))
        self.assertIn("2 downloads\n", self.prints("downloads spam"))
        more = self.prints("downloads spam --most 1")
        self.assertTrue(more.endswith("pypid downloads spam --before 2\n"), more)
        self.assertIn("no project", self.run_command("downloads nowhere")[0])
        for missing in "spam 3.0", "spam spam-9.tar.gz":
            self.assertIn("no file or release", self.run_command(f"downloads {missing}")[0])

    def test_blocked(self) -> None:
        """Who has a blocked file, and who was refused it since."""
        filename, data = wheel_filename("spam", "1.0"), wheel("spam", "1.0")
        target = f"/packages/py3/s/spam/{filename}"
        self.pypid.ask("PUT", target, basic("alice"), body=data)
        self.pypid.get(f"/packages/spam/{filename}", user="bob")
        self.assertEqual(self.prints("downloads --blocked"), "0 downloads\n\n0 refused downloads\n")
        id = self.prints("block create spam --reason bad").partition(":")[0]
        self.pypid.get(f"/packages/spam/{filename}", user="alice")
        for words in "--blocked", "--blocked spam":
            lines = self.prints(f"downloads {words}").splitlines()
            self.assertIn("bob", lines[1])
            self.assertEqual(lines[2], "1 download")
            self.assertIn("alice", lines[5])
            self.assertTrue(lines[5].endswith(id), lines)
            self.assertEqual(lines[6], "1 refused download")
        self.assertIn("--blocked", self.run_command("downloads")[0])
        self.assertIn("project", self.run_command("downloads --blocked spam 1.0")[0])

    def test_parameters(self) -> None:
        """A request names files by a digest or by a project, not by both."""
        for query in "", "?sha256=ab", f"?sha256={'0' * 64}&project=spam", "?version=1.0":
            answer = self.pypid.get(f"/api/downloads{query}", user="ada")
            self.assertEqual(answer.status, 400, query)
