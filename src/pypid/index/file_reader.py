"""Reads visible files and their sidecar documents: local ones from the storage, upstream ones from
the cache or from upstream.
"""

from __future__ import annotations

from attrs import frozen

from pypid.catalog.signed_urls import Links
from pypid.core.errors import (
    Archived,
    Busy,
    Missing,
    NoSuchFile,
    PypidError,
    StorageDown,
    Unreadable,
)
from pypid.core.model import File, SignedUrl, Span, StoredFile
from pypid.core.policy import PassOn, UnknownOwner, delivery
from pypid.core.records.layout import ObjectKind, sidecar_key
from pypid.index.context import IndexContext
from pypid.index.local.archive_restore import ArchiveRestores
from pypid.index.store import records
from pypid.index.upstream.file_cache import FileCache
from pypid.index.upstream.file_metadata import metadata_url
from pypid.index.upstream.gate import UpstreamGate
from pypid.index.views import DIRECT, UpstreamPermission
from pypid.ports import Blobs, Body


@frozen
class FileReader:
    """Reads files that the caller has looked up, and that are visible to the client
    (`Index.file`).
    """

    blobs: Blobs
    context: IndexContext
    gate: UpstreamGate
    file_cache: FileCache
    links: Links | None
    restores: ArchiveRestores

    async def elsewhere(
        self, file: File, permission: UpstreamPermission = DIRECT, *, metadata: bool = False
    ) -> str | None:
        """Return the upstream URL to which a client is redirected for a visible file, or for its
        metadata (`[upstream] mode = redirect`); None if this index serves it.

        A redirect discloses the name as well: raises `NoSuchFile` if the gate would not ask for
        this name, and what the gate raises.
        """
        match delivery(self.context.policy, file):
            case PassOn(url):
                try:
                    await self.gate.check(file.project, permission.via)
                except UnknownOwner:
                    raise NoSuchFile(file.filename) from None
                return metadata_url(url) if metadata else url
            case _:
                return None

    async def link(self, file: File, *, restricted: bool = False) -> SignedUrl | None:
        """Return the signed URL to which a client is redirected for a visible, stored file; None if
        this index serves it.

        An archived file is never redirected: the client would get a 403 until it is restored.
        `restricted`: not every client may download it. Raises `StorageDown`.
        """
        if self.links is None or not isinstance(file, StoredFile) or file.archived:
            return None
        if file.source is not None:
            self.file_cache.touched(file)
        links = (
            self.links.restricted
            if restricted and self.links.restricted is not None
            else self.links
        )
        return await links.link(file)

    async def open(
        self, file: File, span: Span | None = None, permission: UpstreamPermission = DIRECT
    ) -> Body:
        """Return the bytes of a visible file: from the storage, or from upstream while they are
        stored (`FileCache.open`).

        Raises `Archived` if they are archived, and requests a restore; `StorageDown` if the storage
        has lost them, `NoSuchFile` if the file was deleted since it was looked up, `Busy` if it was
        overwritten, and for upstream files what `FileCache.open` raises.
        """
        try:
            return await (
                self._open_ours(file, span)
                if isinstance(file, StoredFile) and file.source is None
                else self._open_theirs(file, span, permission)
            )
        except Archived:
            key = file.key if isinstance(file, StoredFile) else await self._cached_key(file)
            if key is not None:
                await self.restores.request(key)
            raise

    async def _cached_key(self, file: File) -> str | None:
        """Return the key of the cached copy of a file whose upstream listing does not name one."""
        cached = await self.file_cache.kept.find(file)
        return None if cached is None else cached.key

    async def _open_ours(self, file: StoredFile, span: Span | None) -> Body:
        try:
            return await self.blobs.read(file.key, span)
        except Missing:
            raise await self._gone(file) from None

    async def _open_theirs(
        self, file: File, span: Span | None, permission: UpstreamPermission
    ) -> Body:
        if not permission.may_reach_out:
            stored = await self.file_cache.stored(file, span)
            if stored is None:
                raise permission.refusal or NoSuchFile(file.filename)
            return stored
        try:
            return await self.file_cache.open(file, span, permission.via)
        except UnknownOwner:
            raise NoSuchFile(file.filename) from None

    async def _gone(self, file: StoredFile) -> PypidError:
        """Return why the bytes of a file that was visible a moment ago are missing. Refreshes the
        project's catalog entry.
        """
        await self.context.resync(file.project)
        try:
            recorded = await records.read_record(self.blobs, file.project, file.filename)
        except Unreadable:
            recorded = file
        if recorded is None:
            return NoSuchFile(file.filename)
        if recorded.key != file.key:
            return Busy(f"{file.filename!r} was just replaced.", 1)
        return StorageDown(f"the bytes of {file.filename!r} are missing.")

    async def metadata(self, file: File, permission: UpstreamPermission = DIRECT) -> bytes:
        """Return the core metadata of a visible file (PEP 658). Raises `NoSuchFile` if it has none,
        and for upstream files what `FileCache.metadata` raises.
        """
        if file.source is not None:
            return await self._metadata_of_theirs(file, permission)
        return await self._sidecar(
            file, ObjectKind.METADATA, ".metadata", is_promised=file.metadata_sha256 is not None
        )

    async def _metadata_of_theirs(self, file: File, permission: UpstreamPermission) -> bytes:
        if permission.may_reach_out:
            try:
                return await self.file_cache.metadata(file, permission.via)
            except UnknownOwner:
                raise NoSuchFile(file.filename) from None
        data = await self.file_cache.kept.metadata(file)
        if data is None:
            raise permission.refusal or NoSuchFile(f"{file.filename}.metadata")
        return data

    async def signature(self, file: File) -> bytes:
        """Return the PGP signature of a visible file. Raises `NoSuchFile` if it has none."""
        return await self._sidecar(file, ObjectKind.SIGNATURE, ".asc", is_promised=file.signed)

    async def provenance(self, file: File) -> bytes:
        """Return the provenance object of a visible file (PEP 740). Raises `NoSuchFile` if it has
        none.
        """
        return await self._sidecar(
            file, ObjectKind.PROVENANCE, ".provenance", is_promised=file.attested
        )

    async def _sidecar(
        self, file: File, kind: ObjectKind, what: str, *, is_promised: bool
    ) -> bytes:
        data = None
        if is_promised and isinstance(file, StoredFile):
            data = await records.read_bytes(self.blobs, sidecar_key(file, kind))
        if data is None:
            raise NoSuchFile(file.filename + what)
        return data
