"""The interface of an export target. Everything but the copying of files is quick."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from enum import Enum
from hashlib import sha256
from typing import Any, Protocol, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList

from pypid.core.errors import BadRequest, PypidError
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName
from pypid.export.options import MANIFEST, file_path, provenance_path
from pypid.export.tree import WrittenPage
from pypid.flow import Blocking
from pypid.ports import Body

T = TypeVar("T")
FORMAT = 1
LAST = 1 << 31
"""Seconds since 1970: all file systems can store dates before this. Some change later dates, and
the file would look as if it had changed.
"""


class FilePiece(Enum):
    """The parts of a file that are copied."""

    BYTES = ""
    METADATA = ".metadata"
    PROVENANCE = "provenance"


@frozen
class Copy:
    """A part of a file, and the `path` where it is to be stored."""

    path: str
    piece: FilePiece
    file: File = field(repr=False)

    @property
    def size(self) -> int | None:
        """Its size in bytes, if known."""
        return self.file.size if self.piece is FilePiece.BYTES else None

    @property
    def stamp(self) -> int:
        """Nanoseconds since 1970 as the copy's modification time: when the file was uploaded, or
        else a number from its hash that tells it from other bytes.
        """
        uploaded = self.file.uploaded
        if uploaded is not None and 0 <= (seconds := uploaded.timestamp()) < LAST:
            return round(seconds * 1_000_000) * 1000
        return int((self.file.sha256 or "0")[:7], 16) * 1_000_000_000


def copies_of(file: File) -> list[Copy]:
    """Return the copies of a file; its sidecar files come first."""
    path = file_path(file)
    found = [Copy(path, FilePiece.BYTES, file)]
    if file.metadata_sha256 or file.metadata_offered:
        found.insert(0, Copy(path + ".metadata", FilePiece.METADATA, file))
    where = provenance_path(file) if file.attested else None
    if where is not None:
        found.insert(0, Copy(where, FilePiece.PROVENANCE, file))
    return found


@frozen
class Stamp:
    """The contents of the manifest: the identity of the index, and whose view the tree shows."""

    index: str
    audience: str

    def text(self) -> bytes:
        """Return the manifest as bytes."""
        return (
            json.dumps({"format": FORMAT, "index": self.index, "audience": self.audience}).encode()
            + b"\n"
        )


class ExportPlace(Protocol):
    """Where a tree is written. Paths are relative, with ``/``. Every method raises `OSError` or
    `StorageDown` when the place is unreachable.
    """

    compressed: bool
    """Whether gzip copies of pages are of use there."""

    async def claim(self, stamp: Stamp, *, clears: bool) -> None:
        """Mark the place as this tree's, and read what is there.

        Raises `Busy` if another export has the place, `BadRequest` if it holds another index or
        files of other programs, or, without `clears`, another user's view: what may no longer be
        seen would stay there.
        """

    async def recall(self) -> bytes | None:
        """Return what the last run gave to `remember`; None if it did not end, or if there is no
        room for it. From now on it is void.
        """

    async def remember(self, state: bytes) -> None:
        """Store the state of the tree."""

    async def projects(self) -> Mapping[ProjectName, bool]:
        """Return the projects of which there may be files; the value: whether their pages for
        installers exist.
        """

    async def put(self, groups: Sequence[Sequence[WrittenPage]]) -> Sequence[tuple[int, int]]:
        """Write the pages of each group in order; return how many of it were written, and how many
        were unchanged.
        """

    async def of(self, names: Iterable[ProjectName]) -> Mapping[ProjectName, Sequence[str]]:
        """Return the paths that an export wrote, of each project."""

    async def lacks(self, copies: Sequence[Copy]) -> Sequence[Copy]:
        """Return the copies that are missing."""

    async def copy(self, copy: Copy, body: Body) -> None:
        """Write the copy, whole or not at all; closes the body, and raises what it raises."""

    async def remove(self, paths: Sequence[str]) -> int:
        """Remove the paths; return how many were removed."""

    async def settle(self) -> None:
        """Return when everything written survives a loss of power."""

    async def close(self) -> None:
        """Release the underlying resource."""


def check_manifest(
    manifest: bytes | None, is_empty: bool, stamp: Stamp, where: str, *, clears: bool
) -> None:
    """Raise `BadRequest` if a place belongs to another tree or holds other files.

    `manifest`: its contents, or None.
    """
    if manifest is None:
        if not is_empty:
            raise BadRequest(
                f"{where} holds files that no pypid has written (there is no {MANIFEST}): take an "
                "empty one, so that no files of other programs are replaced."
            )
        return
    try:
        document: Any = json.loads(manifest)
        index, audience, format = document["index"], document["audience"], document["format"]
    except (ValueError, LookupError, TypeError):
        raise BadRequest(
            f"{where}/{MANIFEST} cannot be read. Take another place, or remove all that is in "
            f"this one."
        ) from None
    if format != FORMAT or index != stamp.index:
        raise BadRequest(
            f"{where} holds the export of another index. Take another place, or remove all that is "
            "in this one."
        )
    if audience != stamp.audience and not clears:
        raise BadRequest(
            f"{where} holds what {audience} may see, and what {stamp.audience} may not see would "
            "stay there: take another place, or let what is gone be removed (--delete)."
        )


async def all_of(jobs: Iterable[Deferred[T]]) -> list[T]:
    """Return the results of all jobs once all have ended; raises the error of the first that
    failed.
    """
    ended: list[tuple[bool, Any]] = await DeferredList(jobs, consumeErrors=True)
    for went_well, result in ended:
        if not went_well:
            raise result.value
    return [result for _, result in ended]


@define(slots=False, repr=False)
class Damaged(PypidError):
    """Raised when the bytes read are not those that were published."""

    filename: str

    def text(self) -> str:
        return (
            f"the content of {self.filename!r} is damaged in the storage: run `pypid storage check "
            "--hashes`."
        )


@define
class VerifiedBody:
    """The body of a file that raises `Damaged` at its end if its bytes are not those that were
    published.
    """

    body: Body
    file: File
    blocking: Blocking

    @property
    def size(self) -> int | None:
        return self.body.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        hashed, wanted = sha256(), self.file.sha256
        async for piece in self.body:
            if wanted is not None:
                await self.blocking(hashed.update, piece)
            yield piece
        if wanted is not None and hashed.hexdigest() != wanted:
            raise Damaged(self.file.filename)

    async def aclose(self) -> None:
        await self.body.aclose()
