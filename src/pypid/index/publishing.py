"""Publishing: artifact, metadata, then the record, which is the commit; then the catalog.

A crash between any two steps leaves at worst blobs that no record names, which nobody sees.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from enum import Enum

import msgspec
from attrs import frozen
from twisted.logger import Logger

from pypid.core.errors import AlreadyExists, Busy, Exists, Missing, NameUsedUp, PypidError
from pypid.core.layout import Kind, key, metadata_key, overwrite_key
from pypid.core.model import File, Presence, Project, Upload
from pypid.core.policy import admits
from pypid.core.records import dump_record
from pypid.flow import BytesBody, shielded
from pypid.index import truth
from pypid.index.parts import Parts, with_files
from pypid.ports import Body

_log = Logger()

UNDER_WAY = timedelta(minutes=15)
"""On storage that others write to, an artifact without a record this young belongs to somebody's publish."""


BodyAnew = Callable[[], Awaitable[Body]]
"""Gives the bytes of an upload, from their beginning with each call."""


class Outcome(Enum):
    """What came of a publish."""

    PUBLISHED = "published"
    OVERWRITTEN = "overwritten"
    UNCHANGED = "unchanged"
    """The same bytes were published before; nothing was done (twine >= 6.2 knows no other way to try again)."""


@frozen
class Publisher:
    """Puts uploads into the storage, one at a time for each file name."""

    parts: Parts

    async def publish(self, upload: Upload, body: BodyAnew, by: str, *, overwrite: bool = False) -> Outcome:
        """Store the upload durably and list it; `body` gives its bytes, anew with each call.

        Once begun it goes to its end even if the client goes away. Raises `AlreadyExists`, `NameUsedUp`, `ProjectClosed`,
        `Busy`,
        `StorageFull`, `StorageDown`; then nothing of it is visible.
        """
        place = f"{upload.distribution.project}/{upload.distribution.filename}"
        async with self.parts.locks.hold(place):
            name = upload.distribution.project
            ours = await self.parts.ours(name)
            admits(self.parts.policy, upload, ours)
            older = await self._older(ours, upload)
            if older is not None and older.sha256 == upload.digests.sha256:
                return Outcome.UNCHANGED
            if older is not None and not overwrite:
                raise AlreadyExists(older.filename, older.blake2b_256)
            if older is None and not overwrite:
                await self._refuse_used_up(upload)
            return await shielded(self._store(upload, body, by, older))

    async def _older(self, ours: Project | Presence, upload: Upload) -> File | None:
        """The file that is published under this name, by the catalog or (another node's, a moment ago) by its record."""
        filename = upload.distribution.filename
        if isinstance(ours, Project) and (file := ours.file(filename)) is not None:
            return file
        return await truth.read_record(self.parts.blobs, upload.distribution.project, filename)

    async def _refuse_used_up(self, upload: Upload) -> None:
        tombstone = await truth.tombstone(self.parts.blobs, upload.distribution.project, upload.distribution.filename)
        if tombstone is not None and tombstone.sha256 != upload.digests.sha256:
            raise NameUsedUp(upload.distribution.filename)

    async def _store(self, upload: Upload, body: BodyAnew, by: str, older: File | None) -> Outcome:
        file = file_of(upload, by, self.parts.world.now(), overwrites=older is not None)
        written: list[str] = []
        try:
            await self._write_artifact(file, body, written)
            await self._write_beside(file, upload, written)
            await self.commit(file, replace=older is not None)
        except BaseException:
            await self._sweep(written)
            raise
        if older is not None:
            await self._sweep(_replaced(older))
            return Outcome.OVERWRITTEN
        return Outcome.PUBLISHED

    async def _write_artifact(self, file: File, body: BodyAnew, written: list[str]) -> None:
        """The bytes, only if absent. Bytes without a record belong to a publish under way or to one that broke off."""
        where = file.key or ""
        try:
            await self.parts.blobs.write(where, await body())
        except Exists:
            if self.parts.shared and await self._age(where) < UNDER_WAY:
                raise Busy(f"Somebody else is publishing {file.filename!r} right now.", 30) from None
            await self.parts.blobs.write(where, await body(), replace=True)
        written.append(where)

    async def _age(self, where: str) -> timedelta:
        try:
            return self.parts.world.now() - (await self.parts.blobs.stat(where)).modified
        except Missing:
            return UNDER_WAY

    async def _write_beside(self, file: File, upload: Upload, written: list[str]) -> None:
        beside = [
            (metadata_key(file), upload.metadata),
            (key(file.project, file.filename, Kind.SIGNATURE), upload.signature),
            (key(file.project, file.filename, Kind.PROVENANCE), provenance_of(upload)),
        ]
        for where, data in beside:
            if data is not None:
                await self.parts.blobs.write(where, BytesBody(data), replace=True)
                written.append(where)

    async def commit(self, file: File, *, replace: bool = False) -> None:
        """Write the record and list the file. Raises `AlreadyExists` if somebody else's record was first."""
        where = key(file.project, file.filename, Kind.RECORD)
        async with self.parts.locks.hold(file.project):
            try:
                await self.parts.blobs.write(where, BytesBody(dump_record(file)), replace=replace)
            except Exists:
                first = await truth.read_record(self.parts.blobs, file.project, file.filename)
                raise AlreadyExists(file.filename, first.blake2b_256 if first else None) from None
            await self.parts.amend(file.project, lambda project: with_files(project, file))

    async def _sweep(self, keys: list[str]) -> None:
        """Remove what nobody sees; what cannot be removed now is an orphan that `pypid check` finds."""
        for where in reversed(keys):
            try:
                await self.parts.blobs.delete(where)
            except PypidError as error:
                _log.warn("{key} was left behind by an upload: {error}", key=where, error=error)


def file_of(upload: Upload, by: str, now: datetime, *, overwrites: bool) -> File:
    """The file that the upload becomes."""
    distribution, digests = upload.distribution, upload.digests
    project, filename = distribution.project, distribution.filename
    return File(
        project=project,
        filename=filename,
        version=upload.version,
        sha256=digests.sha256,
        md5=digests.md5,
        blake2b_256=digests.blake2b_256,
        size=digests.size,
        uploaded=now,
        requires_python=upload.requires_python,
        metadata_sha256=truth.sha256_of(upload.metadata),
        key=overwrite_key(project, filename, digests.sha256) if overwrites else key(project, filename),
        uploader=by,
        summary=upload.summary,
        signed=upload.signature is not None,
        attested=bool(upload.attestations),
    )


def provenance_of(upload: Upload) -> bytes | None:
    """The provenance object to serve (index-hosted attestations, PEP 740), or None."""
    if not upload.attestations:
        return None
    attestations = [msgspec.Raw(attestation) for attestation in upload.attestations]
    bundle = {"publisher": {"kind": "pypid", "claims": None}, "attestations": attestations}
    return msgspec.json.encode({"version": 1, "attestation_bundles": [bundle]})


def _replaced(older: File) -> list[str]:
    """What an overwritten file leaves behind: its bytes and their metadata (the new ones lie under another key)."""
    keys = [older.key] if older.key else []
    return [*keys, metadata_key(older)] if older.metadata_sha256 else keys
