"""Blocks: in force when acknowledged, after a restart, and whatever happens to their documents."""

from __future__ import annotations

from hashlib import sha256

from pypid.core.errors import BadRequest, NoSuchResource, StorageDown, Withheld
from pypid.core.packaging.block_spec import BlockSpec, parse_block_spec
from pypid.flow import BytesBody, start
from pypid.index.decisions import Blocks, Decisions, StoredBlock
from tests.index.faulty_blobs import Died, Storm
from tests.index.uploads import SPAM, WHEEL, IndexCase, sent


class BlocksCase(IndexCase):
    """An index with two files, and its blocks."""

    def setUp(self) -> None:
        super().setUp()
        self.publish(sent())
        self.publish(sent(b"two", filename="spam-2.0-py3-none-any.whl"))
        self.blocks = self.started()

    def started(self, index: object = None) -> Blocks:
        """The blocks of a process that has just started."""
        world, restrictions = self.index.context.world, self.index.context.policy.restrictions
        blocks = Blocks(Decisions(self.store, world, restrictions))
        self.have(blocks.decisions.begin())
        return blocks

    def block(self, text: str, reason: str = "bad") -> StoredBlock:
        """Create a block."""
        made = self.have(self.blocks.create(parse_block_spec(text), reason, "", "ada"))
        assert isinstance(made, StoredBlock)
        return made

    def shown(self) -> list[str]:
        """The versions on the page."""
        return [file.version for file in self.have(self.index.project(SPAM)).files]


class BlocksTests(BlocksCase):
    def test_refused(self) -> None:
        """Reasons are one printable line; the same block is not made twice."""
        for reason in ("", " ", "a\nb", "a\rb", "a\x00", "x" * 501, "\u2028", "\x1b[31m"):
            self.refused(self.blocks.create(BlockSpec(SPAM), reason, "", "ada"), BadRequest)
        for advisory in ("a b", "MAL\n", "x" * 200):
            self.refused(self.blocks.create(BlockSpec(SPAM), "bad", advisory, "ada"), BadRequest)
        made = self.block("spam==1.0")
        again = self.blocks.create(parse_block_spec("spam == 1.0"), "again", "", "ada")
        self.assertEqual(self.have(again).id, made.id)
        self.refused(self.blocks.delete("spam-00000000"), NoSuchResource)

    def test_unreadable_document_withholds_what_its_id_names(self) -> None:
        """A block whose document is damaged withholds its whole project, or its digest."""
        digest = sha256(b"two").hexdigest()
        damaged = {
            "spam-0123abcd": [],
            f"sha256-{digest}-0123abcd": ["1.0"],
            "nonsense": ["1.0", "2.0"],
        }
        texts = b"{", b'{"spec": "spam==", "reason": "", "created": "2026-01-01T00:00:00Z"}'
        for id, left in damaged.items():
            for text in (*texts, b"x" * 70_000):
                key = f".pypid/blocks/{id}.json"
                self.have(self.store.write(key, BytesBody(text), replace=True))
                self.index.context.policy.restrictions.replace("blocks", {})
                self.started()
                self.assertEqual(self.shown(), left, id)
                self.have(self.store.delete(key))
        self.index.context.policy.restrictions.replace("blocks", {})

    def test_hostile_document(self) -> None:
        """Whatever somebody wrote into a document, the reason is one printable line."""
        text = (
            b'{"spec":"spam==1.0","reason":"a\\r\\nSet-Cookie: x","created":"2026-01-01T00:00:00Z"}'
        )
        self.have(self.store.write(".pypid/blocks/spam-00000000.json", BytesBody(text)))
        self.have(self.blocks.decisions.refresh())
        error = self.refused(self.index.file(SPAM, WHEEL), Withheld)
        assert isinstance(error, Withheld)
        self.assertTrue(error.text().isprintable())
        self.assertTrue(error.phrase.isascii() and error.phrase.isprintable())


class CrashTests(BlocksCase):
    """What a crash, or a storage that fails, leaves."""

    def test_crash_at_each_step(self) -> None:
        """After a crash at any step a restart has the block or has it not; an acknowledged block is
        there; and what is there can be deleted.
        """
        for late in (False, True):
            for step in range(1, 12):
                storm = Storm(self.store, step, Died, late=late, for_good=True)
                self.blocks.decisions.blobs = storm
                creating = start(
                    self.blocks.create(parse_block_spec("spam==1.0"), "bad", "", "ada")
                )
                results: list[object] = []
                creating.addBoth(results.append)
                acknowledged = bool(results) and isinstance(results[0], StoredBlock)
                self.index.context.policy.restrictions.replace("blocks", {})
                self.blocks = self.started()
                self.assertIn(self.shown(), (["2.0"], ["1.0", "2.0"]))
                if acknowledged:
                    self.assertEqual(self.shown(), ["2.0"])
                for id in list(self.blocks.all):
                    self.have(self.blocks.delete(id))
                self.assertEqual(self.shown(), ["1.0", "2.0"])

    def test_storage_away(self) -> None:
        """A block that cannot be written is not acknowledged; those in force stay."""
        self.block("spam==1.0")
        self.blocks.decisions.blobs = Storm(
            self.store, 1, lambda: StorageDown("away."), for_good=True
        )
        self.refused(
            self.blocks.create(parse_block_spec("spam==2.0"), "bad", "", "ada"), StorageDown
        )
        self.assertEqual(self.shown(), ["2.0"])
