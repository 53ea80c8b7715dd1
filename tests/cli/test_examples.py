"""The examples in the help of the commands, run as printed over a whole server."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.cli.command_lines import commands_below, pypid_lines, tree
from tests.cli.commands import CommandCase
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import basic

NOUNS = (
    *(
        "project",
        "user",
        "group",
        "right",
        "token",
        "index",
        "promote",
        "block",
        "trust",
        "audit",
        "downloads",
        "status",
    ),
    "advisory",
)
"""Commands that need a server only; the others need files, another index, or a terminal."""
NOT_HERE = (
    "--ask",
    "--stdin",
    "--follow",
    "--at",
    "k3x9...",
    "acme-1f3a9c02",
    "sha256:DIGEST",
    "PROJECT",
    "invite",
    "import",
    "list-invitations",
    "5d1f...",
)
"""Words of examples that need a terminal, standard input, a history, another configuration, or an
id.
"""
PYLOCK = 'lock-version = "1.0"\ncreated-by = "test"\npackages = []'
FIRST = (
    "user create carol",
    "user create ci",
    "group create devs",
    "group create data",
    "index create team-a",
    "index create staging",
)


class ExampleTests(CommandCase):
    def prepare(self, words: list[str]) -> None:
        """Make a new server with what the example needs."""
        self.setUp()
        filename = wheel_filename("acme_billing", "1.0")
        target = f"/packages/py3/a/acme-billing/{filename}"
        put = self.pypid.ask("PUT", target, basic("alice"), body=wheel("acme-billing", "1.0"))
        self.assertEqual(put.status, 200)
        for line in FIRST:
            has_staging = words[:1] == ["promote"] and line.endswith("staging")
            if (has_staging or line.split()[2] in " ".join(words)) and line.split()[:3] != words[
                :3
            ]:
                self.prints(line)
        if words[:1] == ["promote"]:
            self.stage("acme-billing", "1.4")
            self.stage("acme-invoices", "2.0")
        if words[:2] == ["project", "delete"] and "staging" in words:
            self.stage("acme-billing", "1.0")
        if words[:2] == ["project", "unreserve"]:
            self.prints("project delete acme-billing --yes")
        if words[:2] in (["right", "revoke"], ["token", "create"]) and "carol" in words:
            self.prints("right grant acme-billing carol rw")
        if words[1:] == ["set-status", "nose", "active"]:
            self.prints("project set-status nose deprecated")
        if words[:2] == ["group", "remove-user"]:
            self.prints("group add-user devs carol")

    def test_examples(self) -> None:
        """Every example of these commands works; one that asks is answered with the name that it
        asks for.
        """
        Path("pylock.toml").write_text(PYLOCK)
        Path("requirements.txt").write_text("acme-billing==1.0")
        count = 0
        for name, parser in commands_below(tree()):
            lines = [line for line in (parser.epilog or "").splitlines() if line.startswith("  ")]
            for words in pypid_lines("\n".join(lines)):
                if name[0] in NOUNS and not set(words) & set(NOT_HERE):
                    count += 1
                    self.prepare(words)
                    said = "\n".join([*words[2:3], ""])
                    status, out, err = self.run_command("", *words, said=said)
                    self.assertIn(status, (None, 0), (shlex.join(words), status, out, err))
        self.assertGreater(count, 40)
