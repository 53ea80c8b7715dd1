"""block: what it does and prints."""

import json

from tests.cli.commands import CommandCase
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import basic


class BlockTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        filename = wheel_filename("acme", "1.2")
        self.file = f"/packages/py3/a/acme/{filename}"
        put = self.pypid.ask("PUT", self.file, basic("alice"), body=wheel("acme", "1.2"))
        self.assertEqual(put.status, 200)

    def test_life(self) -> None:
        """A block is created, listed, shown and deleted; the file is withheld meanwhile."""
        out = self.prints("block create acme==1.2 --advisory MAL-1 --reason", "steals tokens")
        id = out.partition(":")[0]
        self.assertTrue(out.startswith(f"{id}: acme==1.2 is blocked\n"), out)
        self.assertEqual(self.pypid.get(self.file).status, 403)
        [head, line, count] = self.prints("block list").splitlines()
        self.assertEqual(head.split()[:2], ["ID", "BLOCKS"])
        self.assertEqual(line.split()[:2], [id, "acme==1.2"])
        self.assertIn("operator/root", line)
        self.assertTrue(line.endswith("steals tokens"))
        self.assertEqual(count, "1 block")
        shown = self.prints(f"block show {id}")
        for words in (id, "acme==1.2", "steals tokens", "MAL-1", "operator/root"):
            self.assertIn(words, shown)
        self.assertEqual(json.loads(self.prints(f"block show {id} --json"))["id"], id)
        why = self.prints("project why acme")
        self.assertIn("steals tokens", why)
        self.assertEqual(self.prints(f"block delete {id}"), f"{id}: deleted\n")
        self.assertEqual(self.pypid.get(self.file).status, 200)
        self.assertTrue(self.prints("block list").endswith("0 blocks\n"))

    def test_created(self) -> None:
        """A new block is named, with what stays."""
        status, out, err = self.run_command("block create acme==1.2 --reason", "steals tokens")
        self.assertEqual((status, err), (None, ""))
        first, limit = out.splitlines()
        self.assertRegex(first, "^acme-[0-9a-f]{8}: acme==1.2 is blocked$")
        self.assertTrue(limit.startswith("outside pypid: If another web server"), limit)

    def test_refused(self) -> None:
        """What is no block is refused, with the reason."""
        self.assertIn(
            "names nothing to block", self.run_command("block create acme= --reason bad")[0]
        )
        self.assertIn("needs a reason", self.run_command("block create acme --reason", "a\nb")[0])
        self.assertIn("no block 'acme-1'", self.run_command("block delete acme-1")[0])
        self.assertIn("no block 'acme-1'", self.run_command("block show acme-1")[0])
        self.assertEqual(self.run_command("block create acme")[0], 2)

    def test_again(self) -> None:
        """What is blocked already keeps its block, so that a script may be repeated."""
        first = self.prints("block create acme --reason bad")
        self.assertEqual(self.prints("block create ACME --reason worse"), first)
        self.assertEqual(self.prints("block list").count("acme"), 2)
