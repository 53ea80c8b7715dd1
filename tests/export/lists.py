"""Lists of files that the tests make trees of."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from attrs import evolve

from pypid.core.export_request import ExportedIndex
from pypid.export.list_source import PackageList, export_list, read_json, read_names
from pypid.export.tree import ExportOptions
from tests.export.trees import files_in

HASH = "sha256=" + "0123456789abcdef" * 4
POOL = "https://files.example.com/pool/"
OPTIONS = ExportOptions(files_url=POOL, is_list=True)


def names(*filenames: str) -> PackageList:
    """A list of names."""
    return read_names([f"{filename}\n".encode() for filename in filenames], "names")


def objects(*entries: dict[str, Any]) -> PackageList:
    """A list of JSON objects."""
    return read_json([msgspec.json.encode(entry) + b"\n" for entry in entries], "objects")


def built(
    folder: Path,
    listed: PackageList,
    *,
    clears: bool = False,
    verifies: bool = False,
    **wishes: Any,
) -> ExportedIndex:
    """One run."""
    return export_list(
        listed,
        str(folder),
        evolve(OPTIONS, **wishes),
        datetime(2026, 8, 1, 12, 30, tzinfo=UTC),
        clears=clears,
        verifies=verifies,
        on_progress=lambda done, of: None,
    )


def tree_of(listed: PackageList, **wishes: Any) -> dict[str, bytes]:
    """All pages of a list."""
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        built(Path(folder), listed, **wishes)
        return files_in(Path(folder))
