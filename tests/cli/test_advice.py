"""The commands in the errors of promotions and indexes, run as printed."""

from __future__ import annotations

import re
import shlex

from attrs import evolve

from pypid.core.errors import NameUsedUpstream
from pypid.core.permissions import Principals
from tests.cli.commands import CommandCase
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import Answer, content, form, text

COMMAND = re.compile(r"pypid ((?:advisory|index|promote|right|storage) [^`;]*)")


class AdviceTests(CommandCase):
    """Over a whole server, with a release in the index staging."""

    def setUp(self) -> None:
        super().setUp()
        self.prints("index create staging", "write=alice")
        self.stage("spam", "1.0")

    def refusal(self, *words: str) -> str:
        """The error of a command that fails."""
        status, _, problem = self.run_command("", *words)
        self.assertNotIn(status, (None, 0), words)
        return f"{status} {problem}"

    def follow(self, text: str, expected: object = None) -> str:
        """Run the command that the error names; what it prints."""
        found = COMMAND.search(text)
        assert found is not None, text
        words = shlex.split(found[1])
        status, out, problem = self.run_command("", *words)
        self.assertEqual(status, expected, (words, out, problem))
        return out

    def test_right_on_a_name(self) -> None:
        """The command gives the user the right."""
        self.follow(str(NameUsedUpstream("numpy", "alice")))
        self.assertIn("alice", self.prints("right list numpy"))
        self.assertNotIn("pypid", str(NameUsedUpstream("numpy")))
        self.assertIn("grant numpy 'a b' rw", str(NameUsedUpstream("numpy", "a b")))


class MissingRightTests(CommandCase):
    """The texts of 403. alice may publish by `[access] write`, bob another project by a right."""

    def setUp(self) -> None:
        super().setUp()
        self.set_defaults(write=Principals.parse("alice"))
        self.prints("right grant eggs bob rw")

    def set_defaults(self, **values: object) -> None:
        """Change keys of [access]."""
        self.people.defaults = evolve(self.people.defaults, **values)
        self.people._apply()

    def upload(self, index: str, user: str = "bob", version: str = "1.0") -> Answer:
        """The answer to an upload of spam to the index; empty: to the default one."""
        parts = [text(":action", "file_upload"), text("protocol_version", "1")]
        parts.append(content(wheel_filename("spam", version), wheel("spam", version)))
        kind = ("Content-Type", "multipart/form-data; boundary=upload")
        path, body = f"{index and '/'}{index}/legacy/", form(parts, "upload")
        return self.pypid.ask("POST", path, kind, body=body, user=user)

    def refused(self, answer: Answer, *words: str) -> str:
        """The text of a 403 with these words."""
        self.assertEqual(answer.status, 403, answer)
        for word in words:
            self.assertIn(word, answer.text)
        return answer.text

    def follow(self, advice: str, users: str = "") -> None:
        """Run the last command that the text names, with these users in place of VALUE."""
        found = COMMAND.search(advice.strip().rpartition(": ")[2])
        assert found is not None, advice
        self.prints("", *(word.replace("VALUE", users) for word in shlex.split(found[1])))

    def test_index_that_excludes_the_user(self) -> None:
        """A right on the project would not help: the user is added to `write` of the index."""
        self.prints("index create team write=alice")
        self.prints("right grant spam bob rw")
        advice = self.refused(self.upload("team"), "to the VALUE of `write` of this index")
        self.assertNotIn("alice", advice)
        self.follow(advice, "alice")
        self.assertEqual(self.upload("team").status, 200)

    def test_hidden_index(self) -> None:
        """The text names no user of the index."""
        self.prints("index create team read=alice")
        answer = self.pypid.get("/team/simple/spam/", user="bob")
        self.assertNotIn("alice", self.refused(answer))
        self.follow(answer.text, "alice")
        self.assertEqual(self.pypid.get("/team/simple/spam/", user="bob").status, 404)
