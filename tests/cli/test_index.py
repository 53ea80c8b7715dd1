"""The `index` command."""

from __future__ import annotations

import json

from attrs import evolve

from pypid.core.permissions import Principals
from tests.cli.commands import CommandCase
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import basic


class IndexCommandTests(CommandCase):
    """Over a whole server and its control socket."""

    def test_create(self) -> None:
        """It prints commands with the URLs, which are absolute without a Host, too."""
        out = self.prints("index create team-a", "write=alice", "volatile=yes")
        address = self.pypid.app.settings.address.rstrip("/")
        self.assertIn("team-a: created", out)
        self.assertIn(f"pip install --index-url {address}/team-a/simple/ PROJECT", out)
        self.assertIn(f"uv publish --publish-url {address}/team-a/legacy/ dist/*", out)
        out = self.prints("index create team-b", "read=alice", "bases=none")
        self.assertIn("://__token__:TOKEN@", out)
        self.assertRegex(self.prints("index list"), r"\nteam-b +none +alice\n")

    def test_login(self) -> None:
        """The URL has a place for a token if anonymous clients may not read the index."""
        self.prints("index create team-a")
        self.prints("index create open", "read=everyone")
        default = self.people.defaults
        for read, expected in (("authenticated", True), ("everyone", False)):
            self.people.defaults = evolve(default, read=Principals.parse(read))
            self.people._apply()
            self.assertEqual("__token__:TOKEN@" in self.prints("index show team-a"), expected)
            self.assertNotIn("__token__", self.prints("index show open"))

    def test_hidden_alias(self) -> None:
        """It names the project whose alias the index takes."""
        filename = wheel_filename("team", "1.0")
        target = f"/packages/py3/t/team/{filename}"
        put = self.pypid.ask("PUT", target, basic("alice"), body=wheel("team", "1.0"))
        self.assertEqual(put.status, 200)
        out = self.prints("index create team")
        self.assertIn("/team/ now leads to this index", out)
        self.assertIn("/simple/team/", out)

    def test_list_and_show(self) -> None:
        """The settings are spelled as in the configuration."""
        self.prints("index create team-a", "write=alice group:devs")
        self.prints("index create staging", "bases=team-a", "volatile=yes", "expires=2099-01-31")
        out = self.prints("index list")
        self.assertIn("alice group:devs", out)
        self.assertIn("volatile, expires 2099-02-01", out)
        self.assertIn("2 indexes", out)
        self.assertIn("bases = team-a", self.prints("index show staging"))
        document = json.loads(self.prints("index show staging", "--json"))
        self.assertEqual(document["bases"], ["team-a"])

    def test_unknown_group(self) -> None:
        """A misspelled group is a warning on standard error; the index is created."""
        for line in "index create team-a write=group:dta", "index set team-a read=group:dta":
            status, out, problem = self.run_command(line)
            self.assertIsNone(status)
            self.assertIn("team-a", out)
            self.assertIn("no group 'dta'", problem)

    def test_set(self) -> None:
        """A value is set, and restored by leaving it out."""
        self.prints("index create team-a", "write=alice")
        self.assertIn("read = alice", self.prints("index set team-a", "read=alice"))
        out = self.prints("index set team-a", "read=")
        self.assertNotIn("read = ", out)
        self.assertIn("write = alice", out)

    def test_delete(self) -> None:
        """It is gone from the list."""
        self.prints("index create team-a")
        self.assertIn("team-a: deleted", self.prints("index delete team-a"))
        self.assertIn("0 indexes", self.prints("index list"))

    def test_mistakes(self) -> None:
        """What is wrong is said: no KEY=VALUE, an unknown key, an unknown index."""
        for line, word in (
            ("index create team-a write", "KEY=VALUE"),
            ("index create team-a wirte=alice", "did you mean 'write'? "),
            ("index show team-a", "no index"),
            ("index show default", "at the root"),
            ("index create simple", "reserved"),
        ):
            status, _, problem = self.run_command(line)
            self.assertNotIn(status, (None, 0), line)
            self.assertIn(word, f"{status} {problem}", line)
