"""The `audit` and `downloads` commands: what they print."""

from __future__ import annotations

from hashlib import sha256

from pypid.cli.output import printable
from tests.cli.commands import CommandCase
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import basic


class AuditTests(CommandCase):
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
