"""What is read of, and changed in, the lines of upstream projects without their listed files."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from pypid.catalog.lines import Line, PendingLine, written
from pypid.catalog.packed_line import LOST, PackedLine
from pypid.catalog.states import listed_files
from pypid.catalog.table import LineTable
from pypid.core.errors import Unreadable
from pypid.core.model import Listing, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.records.upstream_entry import dump_beginning, dump_upstream_entry, listing_time
from pypid.ports import TableKey


def with_files_of(line: Line, entry: UpstreamEntry, key: TableKey) -> Line:
    """Return the line of an entry that has the same listed files as `line`, which has this key."""
    if isinstance(line, PackedLine):
        if not line.part or listed_files(entry) is None:  # there are no files, or they are lost
            return dump_upstream_entry(entry, key=key)
        return line.with_beginning(dump_beginning(entry, line.beginning, key))
    if isinstance(line, PendingLine):
        return PendingLine(entry, partial(dump_upstream_entry, key=key))
    return dump_upstream_entry(entry, written(line), key=key)


def listing_time_of(table: LineTable[UpstreamEntry], name: ProjectName) -> datetime | None:
    """Return when upstream was last asked for the project, or None. Reads no listed files."""
    entry = table.decoded(name)
    if entry is not None:
        return None if entry.listing is None else entry.listing.confirmed
    line = table.lines.get(name)
    try:
        return None if line is None else _confirmed(line)
    except Unreadable:
        return None


def _confirmed(line: Line) -> datetime | None:
    if isinstance(line, PendingLine):
        listing: Listing | None = line.value.listing
        return None if listing is None else listing.confirmed
    if isinstance(line, PackedLine):
        return None if line.part == LOST else listing_time(line.short)
    return listing_time(written(line))
