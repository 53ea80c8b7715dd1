"""Packing listed files as compact bytes (`core.simple_api.listed_files`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from attrs import evolve
from msgspec import UNSET
from msgspec.structs import replace

from pypid.core.compression import fragment
from pypid.core.model import ListedFile
from pypid.core.packaging.expected_digest import claim_of
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import RecordedFile, stored
from pypid.core.simple_api.entries import FILES_URL, entry_of
from pypid.core.simple_api.listed_files import (
    BLOCK,
    WHOLE_URL,
    FileBlock,
    HiddenColumns,
    ListedFiles,
    ListingFacts,
    joined_runs,
    runs_of,
)

_encoder = msgspec.json.Encoder()


class Row(msgspec.Struct, gc=False):
    """A file to be packed. `entry` is encoded as it is; `folder` as in `HiddenColumns`."""

    entry: msgspec.Struct
    folder: str
    provenance: str | None = None
    digest: str | None = None
    md5: str | None = None
    blake2b_256: str | None = None
    odd: RecordedFile | None = None


def packed(files: Sequence[ListedFile]) -> ListedFiles:
    """Return listed files that are in order, as compact bytes."""
    if isinstance(files, ListedFiles):
        return files
    made = _packed(files, [_row(file) for file in files])
    odd = {file.filename for file, again in zip(files, made, strict=True) if file != again}
    return _packed(files, [_row(file, file.filename in odd) for file in files]) if odd else made


def _packed(files: Sequence[ListedFile], rows: Sequence[Row]) -> ListedFiles:
    project = files[0].project if files else ProjectName("")
    known = pack(project, rows, [(file.version, 1) for file in files])
    return evolve(
        known,
        facts=replace(
            known.facts,
            attested=any(file.attested for file in files),
            hashed=all(claim_of(file) is not None for file in files),
        ),
        seen=runs_of([file.seen for file in files]),
        learnt={
            file.filename: file.metadata_sha256
            for file in files
            if file.metadata_sha256 is not None and not file.metadata_offered
        },
    )


def pack(
    project: ProjectName, rows: Sequence[Row], versions: Iterable[tuple[str, int]]
) -> ListedFiles:
    """Return the files of these rows, which are in order; `versions` are theirs."""
    dated = sized = hashed = True
    latest: datetime | None = None
    for row in rows:
        entry: Any = row.entry
        uploaded = entry.upload_time
        if uploaded is UNSET:
            dated = False
        elif latest is None or uploaded > latest:
            latest = uploaded
        sized = sized and entry.size is not UNSET
        hashed = hashed and bool(entry.hashes or row.digest or row.blake2b_256)
    blocks = [_block(rows[start : start + BLOCK]) for start in range(0, len(rows), BLOCK)]
    facts = ListingFacts(latest=latest, dated=dated, sized=sized, hashed=hashed)
    return ListedFiles(project, tuple(blocks), joined_runs(versions), facts)


def _block(rows: Sequence[Row]) -> FileBlock:
    rest = HiddenColumns(
        folders=[row.folder for row in rows],
        provenance=_column([row.provenance for row in rows]),
        digests=_column([row.digest for row in rows]),
        md5=_column([row.md5 for row in rows]),
        blake2b_256=_column([row.blake2b_256 for row in rows]),
        odd={number: row.odd for number, row in enumerate(rows) if row.odd is not None},
    )
    entries = _encoder.encode([row.entry for row in rows])[1:-1]
    return FileBlock(len(rows), fragment(entries), fragment(_encoder.encode(rest)))


def _column(values: list[str | None]) -> list[str | None]:
    return values if any(value is not None for value in values) else []


def folder_of(url: str, filename: str) -> str:
    """Return the URL as it is packed: without the file name."""
    folder = url.removesuffix(filename)
    return folder if folder.endswith("/") and folder + filename == url else WHOLE_URL + url


def _without_learnt(file: ListedFile) -> ListedFile:
    """Return the file as upstream listed it."""
    learnt = file.metadata_sha256 is not None and not file.metadata_offered
    if file.seen is None and not learnt:
        return file
    return replace(file, seen=None, metadata_sha256=None if learnt else file.metadata_sha256)


def _row(file: ListedFile, is_odd: bool = False) -> Row:
    listed = _without_learnt(file)
    return Row(
        entry_of(listed, f"{FILES_URL}{file.project}/", None),
        folder_of(file.source or "", file.filename),
        file.provenance_url,
        file.digest,
        file.md5,
        file.blake2b_256,
        stored(listed) if is_odd else None,
    )
