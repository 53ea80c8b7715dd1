"""The state folder's note on its copies in the bucket. A folder that has it is not new. All
functions block.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from pypid.core.errors import Unreadable
from pypid.core.records.documents import FORMAT, dump, load
from pypid.jobs.backup.records import OF_RECORD, Record, put

FILE = "of-record.json"


class Marker(msgspec.Struct, frozen=True):
    """The note: `storage` and `key` name the bucket and the secret of the copies; `copied` has the
    SHA-256 of each.

    `restoring`: the copies are being fetched; the folder may have only a part of them.
    """

    storage: str
    key: str
    copied: dict[str, str]
    restoring: bool = False
    format: int = FORMAT


def read_marker(state: Path) -> Marker | None:
    """Return the marker, or None if there is none; a torn one means that there were copies, of
    which nothing is known.

    Raises `OSError`.
    """
    try:
        return load(Marker, (state / FILE).read_bytes(), FILE)
    except FileNotFoundError:
        return None
    except Unreadable:
        return Marker("", "", {})


def is_new(state: Path, kept: Sequence[Record] = OF_RECORD) -> bool:
    """Return whether the folder has no records, and never had: then the copies have to be fetched.
    Raises `OSError`.
    """
    marker = read_marker(state)
    if marker is not None:
        return marker.restoring
    return not present(state, kept)


def present(state: Path, kept: Sequence[Record] = OF_RECORD) -> list[str]:
    """Return the names of the records in the folder."""
    return [record.name for record in kept if (state / record.name).exists()]


def write_marker(state: Path, marker: Marker) -> None:
    """Write the marker. Raises `OSError`."""
    put(state, FILE, dump(marker))
