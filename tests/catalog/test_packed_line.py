"""Lines with compressed files come back as they were."""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.packed_line import LOST, PackedLine, pack
from pypid.core.model import ListedFile, Listing, UpstreamEntry
from pypid.core.packaging.names import project_name
from pypid.core.records.upstream_entry import dump_upstream_entry, load_upstream_entry
from pypid.core.simple_api.packing import packed

SPAM = project_name("spam")
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def an_entry(count: int | None, *, compact: bool) -> UpstreamEntry:
    """What is known of a project with so many files."""
    files = tuple(
        ListedFile(
            project=SPAM,
            filename=f"spam-{number}.tar.gz",
            version=str(number),
            sha256="ab" * 32,
            size=number,
            source=f"https://x.example/spam-{number}.tar.gz",
        )
        for number in range(count or 0)
    )
    listed = None if count is None else packed(files) if compact else files
    listing = Listing(name=SPAM, files=listed, confirmed=WHEN, index="https://x.example/")
    return UpstreamEntry(name=SPAM, listing=listing, serial=7)


class PackedLineTests(SynchronousTestCase):
    """`PackedLine`."""

    def test_round_trip(self) -> None:
        """A line is the same after packing, whether its files were compressed before or not; files
        that were take little more memory than their blocks.
        """
        for count in (None, 0, 1, 300):
            for compact in (True, False):
                entry = an_entry(count, compact=compact)
                line = dump_upstream_entry(entry)
                held = pack(line)
                self.assertEqual((held.line(), len(held)), (line, len(line)))
                self.assertEqual(load_upstream_entry(held.line()), entry)
        compact_line = pack(dump_upstream_entry(an_entry(1000, compact=True)))
        listing = an_entry(1000, compact=True).listing
        assert isinstance(compact_line.part, bytes) and listing is not None
        blocks = listing.files.blocks  # type: ignore[union-attr]
        size = sum(len(block.entries) + len(block.rest) for block in blocks)
        self.assertLess(len(compact_line.part), size + 100)

    def test_damaged(self) -> None:
        """A part that is damaged, cut or lost is no listing: upstream is asked again."""
        held = pack(dump_upstream_entry(an_entry(300, compact=True)))
        assert isinstance(held.part, bytes)
        for part in (LOST, held.part[:-9], held.part[:1], b"\x07\xff", b"\xff"):
            entry = load_upstream_entry(PackedLine(held.beginning, held.size, part).line())
            self.assertIsNone(entry.listing)
        self.flushLoggedErrors()
