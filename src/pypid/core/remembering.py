"""What upstream says of a project, with what we know better because it said so before."""

from __future__ import annotations

from datetime import datetime

from attrs import evolve
from msgspec.structs import replace

from pypid.core.model import File, Remembered


def remembered(said: Remembered, before: Remembered | None) -> Remembered:
    """`said`, with what was learnt of files that are still the same.

    That is when a file without upload time was first seen here, and the hash of metadata that upstream gives none of. A file
    that is as it was is the same object as before, and so are the files as a whole: to compare them again costs nothing, and
    they are in memory once.
    """
    if said.files is None:
        return said
    old = before.files if before is not None and before.files is not None else ()
    if said.files is old:
        return said
    known = {file.filename: file for file in old}
    files = tuple(_learnt(file, known.get(file.filename), said.asked) for file in said.files)
    unchanged = len(files) == len(old) and all(one is other for one, other in zip(files, old, strict=True))
    return evolve(said, files=old if unchanged else files)


def _learnt(file: File, before: File | None, now: datetime) -> File:
    if before is not None and before.sha256 != file.sha256:
        before = None
    seen = file.seen
    if file.uploaded is None:
        seen = (before.seen if before is not None else None) or now
    metadata = file.metadata_sha256
    if metadata is None and before is not None and before.sha256 is not None:
        metadata = before.metadata_sha256
    if seen != file.seen or metadata != file.metadata_sha256:
        file = replace(file, seen=seen, metadata_sha256=metadata)
    return before if before is not None and before == file else file
