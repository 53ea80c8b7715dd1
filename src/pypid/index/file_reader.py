"""Reads visible files and their sidecar documents: local ones from the storage, upstream ones from
the cache or from upstream.
"""

from __future__ import annotations

from attrs import frozen

from pypid.catalog.signed_urls import Links
from pypid.core.approvals import WAITING
from pypid.core.configuration.choices import NewProjects
from pypid.core.delivery import PassOn, delivery
from pypid.core.errors import (
    Archived,
    Busy,
    Missing,
    NoSuchFile,
    PypidError,
    RestrictionsUnknown,
    StorageDown,
    Unreadable,
    Withheld,
    WrongBytes,
)
from pypid.core.layering import absolute_file
from pypid.core.model import File, Presence, Project, SignedUrl, Span, StoredFile, file_named
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import UnknownOwner, UpstreamState, may_show_upstream, waits
from pypid.core.records.layout import ObjectKind, sidecar_key
from pypid.core.restrictions import HoldKind
from pypid.index.context import IndexContext
from pypid.index.local.archive_restore import ArchiveRestores
from pypid.index.store import records
from pypid.index.trust import PublisherTrust
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
    trust: PublisherTrust | None = None
    prefix: str = ""
    """What keys begin with in the whole storage, for signed URLs."""

    def check(self, file: File) -> None:
        """Check that no rule withholds the file now: it may have been looked up before the rule
        came into force. Raises `Withheld`, `RestrictionsUnknown`.
        """
        restrictions = self.context.policy.restrictions.current
        if not restrictions.is_known:
            raise RestrictionsUnknown()
        restrictions.check(file)

    async def check_named(self, name: ProjectName, filename: str) -> None:
        """Check that no rule withholds the file of this name, as far as it is known; upstream is
        not asked. Raises `Withheld`, `RestrictionsUnknown`.
        """
        policy = self.context.policy
        may_wait = policy.new_projects is NewProjects.ASK
        if not may_wait and not policy.restrictions.current.hides_any(name):
            return
        for file in await self._known_files(name, filename):
            self.check(file)
            if file.source is not None and await self._waits(name):
                raise Withheld(filename, WAITING.kind.value, WAITING.reason, project=name)

    async def _waits(self, name: ProjectName) -> bool:
        entry = await self.file_cache.kept.entry(name)
        state = UpstreamState(kept=entry.kept)
        return waits(self.context.policy, Presence.ABSENT, state, name)

    async def _known_files(self, name: ProjectName, filename: str) -> list[File]:
        """Return the local file of this name, or the listed and the cached one."""
        ours = await self.context.local_project(name)
        local = ours.file(filename) if isinstance(ours, Project) else None
        if isinstance(ours, Project) and not ours.status.offers_files:
            return []
        if local is not None or not may_show_upstream(self.context.policy, name, ours):
            return [] if local is None else [local]
        entry = await self.file_cache.kept.entry(name)
        listing = entry.listing
        if listing is not None and not listing.status.offers_files:
            return []
        found = (
            entry.kept_file(filename),
            file_named(listing.files or () if listing else (), filename),
        )
        return [file for file in found if file is not None]

    async def elsewhere(
        self, file: File, permission: UpstreamPermission = DIRECT, *, metadata: bool = False
    ) -> str | None:
        """Return the upstream URL to which a client is redirected for a visible file, or for its
        metadata (`[upstream] mode = redirect`); None if this index serves it.

        A redirect discloses the name as well: raises `NoSuchFile` if the gate would not ask for
        this name, and what the gate raises.
        """
        if not metadata:
            await self.judge(file, permission)
        match delivery(self.context.policy, file):
            case PassOn(url):
                try:
                    await self.gate.check(file.project, permission.via)
                except UnknownOwner:
                    raise NoSuchFile(file.filename) from None
                return metadata_url(url) if metadata else url
            case _:
                return None

    async def link(self, file: File, *, restricted: bool) -> SignedUrl | None:
        """Return the signed URL to which a client is redirected for a visible, stored file; None if
        this index serves it.

        An archived file is never redirected: the client would get a 403 until it is restored.
        `restricted`: not every client may download it. Raises `StorageDown`.
        """
        await self.judge(file)
        if self.links is None or not isinstance(file, StoredFile) or file.archived:
            return None
        if file.source is not None:
            self.file_cache.touched(file)
        links = (
            self.links.restricted
            if restricted and self.links.restricted is not None
            else self.links
        )
        return await links.link(absolute_file(file, self.prefix) if self.prefix else file)

    async def open(
        self, file: File, span: Span | None = None, permission: UpstreamPermission = DIRECT
    ) -> Body:
        """Return the bytes of a visible file: from the storage, or from upstream while they are
        stored (`FileCache.open`).

        Raises `Archived` if they are archived, and requests a restore; `StorageDown` if the storage
        has lost them, `NoSuchFile` if the file was deleted since it was looked up, `Busy` if it was
        overwritten, and for upstream files what `FileCache.open` raises.
        """
        await self.judge(file, permission)
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
        self.check(file)
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

    async def provenance(self, file: File, permission: UpstreamPermission = DIRECT) -> bytes:
        """Return the provenance object of a visible file (PEP 740). Raises `NoSuchFile` if it has
        none, and for upstream files what `ProvenanceCache.provenance` raises.
        """
        if file.source is not None:
            return await self._provenance_of_upstream(file, permission)
        return await self._sidecar(
            file, ObjectKind.PROVENANCE, ".provenance", is_promised=file.attested
        )

    async def judge(self, file: File, permission: UpstreamPermission = DIRECT) -> None:
        """Check that no rule withholds the file now (`check`), after its publisher was verified."""
        await self._verify(file, permission)
        self.check(file)

    async def _verify(self, file: File, permission: UpstreamPermission) -> None:
        """Verify the provenance of an upstream file if a rule needs its publisher, before its bytes
        are sent. Raises what `ProvenanceCache.provenance` raises, and `Withheld` if this request
        may not fetch it.
        """
        if self.trust is None or not self.trust.needs_provenance(file):
            return
        try:
            data = await self._provenance_of_upstream(file, permission)
        except NoSuchFile:
            if not permission.may_reach_out:  # a request with that right finds out
                held = HoldKind.TRUST.value
                raise Withheld(
                    file.filename, held, "its provenance is not stored here", project=file.project
                ) from None
            self.trust.refuse(file, "its provenance is not available")
        except WrongBytes as error:
            self.trust.refuse(file, error.reason)
        else:
            await self.trust.verdict(file, data)

    async def _provenance_of_upstream(self, file: File, permission: UpstreamPermission) -> bytes:
        self.check(file)
        if permission.may_reach_out:
            try:
                return await self.file_cache.provenance.provenance(file, permission.via)
            except UnknownOwner:
                raise NoSuchFile(f"{file.filename}.provenance") from None
        data = await self.file_cache.kept.provenance(file)
        if data is None:
            raise permission.refusal or NoSuchFile(f"{file.filename}.provenance")
        return data

    async def _sidecar(
        self, file: File, kind: ObjectKind, what: str, *, is_promised: bool
    ) -> bytes:
        self.check(file)
        data = None
        if is_promised and isinstance(file, StoredFile):
            data = await records.read_bytes(self.blobs, sidecar_key(file, kind))
        if data is None:
            raise NoSuchFile(file.filename + what)
        return data
