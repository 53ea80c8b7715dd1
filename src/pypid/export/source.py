"""The interface of what is exported: an index as a user sees it, or a list of files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.defer import DeferredSemaphore
from twisted.internet.task import deferLater

from pypid.core.errors import BadRequest, Busy, NoSuchFile, PypidError, StorageDown
from pypid.core.model import File, Presence, Project, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import describing_file
from pypid.core.permissions import ANONYMOUS, Identity, Rules, Visibility, visibility_of
from pypid.core.policy import may_show_upstream
from pypid.core.summaries import Run, Sieve, Summaries
from pypid.export.pages import described_releases
from pypid.export.targets import Copy, FilePiece, VerifiedBody, all_of
from pypid.export.tree import ExportOptions
from pypid.export.tree_state import Fingerprint, TreeBasis
from pypid.flow import BytesBody, World
from pypid.index import Index
from pypid.index.layers import as_readable
from pypid.index.stored_view import stored_view
from pypid.index.views import STORED, may_read_all
from pypid.ports import Body


@frozen(eq=False)
class ExportView:
    """What was seen at one time. `serial`: the serial of the project list."""

    names: Summaries = Summaries()
    """The visible projects, by name."""
    hidden: int = 0
    """Number of projects that are not visible."""
    serial: int | None = None
    """None: the highest of `names`."""
    fetches: bool = False
    """Whether the user may have pypid fetch from upstream, and so sees what is not stored yet."""


class ExportSource(Protocol):
    """What an export reads."""

    @property
    def world(self) -> World:
        """Threads and clock."""

    async def look(self) -> ExportView:
        """Return what is visible now."""

    def basis(self, options: ExportOptions, look: ExportView) -> TreeBasis:
        """Return everything but the projects that pages depend on."""

    def fingerprint(self, name: ProjectName) -> Fingerprint | None:
        """Return a value that changes whenever `project` may return something else, apart from what
        time changes; None if there is none now. Call it before `project`.
        """

    async def project(self, name: ProjectName) -> tuple[Project, datetime | None] | None:
        """Return the project, if it is on the project list, and when it changes by itself; None if
        it does not exist. Raises `StorageDown`, `NotYetKnown`.
        """

    async def metadata(
        self, project: Project, *, all: bool
    ) -> tuple[dict[str, bytes], StorageDown | None]:
        """Return the stored core metadata by version: of each release, or of the newest one; and
        the error, if some could not be read.
        """

    async def url(self, file: File, lifetime: timedelta) -> str:
        """Return a signed URL of a stored file. Raises `BadRequest` if the storage signs none."""

    async def body(self, copy: Copy) -> Body:
        """Return a part of a file that is to be copied. Raises what the storage raises."""


# What one user sees of the index, read from the catalog and storage alone.

LOOK, LONGEST = 0.2, 600.0
"""Seconds between two checks whether the storage has been read, and the longest wait for it."""
FEW_FILES = 1000
"""Number of files that are judged in the reactor thread."""
READ = 8
"""Number of core metadata files read at the same time."""


@frozen(kw_only=True)
class Authority:
    """The source of identities and permissions."""

    rules: Callable[[], Rules]
    closed: Callable[[], PypidError | None]
    """Return why these are not known yet, or None."""
    find: Callable[[str], Awaitable[Identity | None]]
    """Return the identity of a user name. Raises `PeopleUnknown`."""
    layers: LayerAuthority | None = None
    """The rights in the layers of a named index; None for the default one."""


@frozen
class LayerAuthority:
    """Decides what a user may read of the projects that a named index inherits."""

    visibility: Callable[[Identity], Awaitable[Visibility]]
    """Return which projects the user sees in the lists of the index as they are now."""
    may_read: Callable[[Identity, str, ProjectName], None]
    """Raise `Forbidden` or `Unauthenticated` if the user may not read the project in the index of
    this name; empty: the default one.
    """


@define(eq=False)
class ExportViewer:
    """Looks at the index as `user`, or as anonymous. `stored_only`: see only what is stored, as
    below ``/local/``.
    """

    index: Index
    authority: Authority
    user: str | None = None
    stored_only: bool = False
    _who: Identity = field(default=ANONYMOUS, init=False)
    _fetches: bool = field(default=False, init=False)
    _reads: DeferredSemaphore = field(
        factory=lambda: DeferredSemaphore(READ), init=False, repr=False
    )

    @property
    def world(self) -> World:
        return self.index.context.world

    async def look(self) -> ExportView:
        """Return what is visible now; an unknown user sees what anonymous sees. Raises what
        `Authority.closed` returns, `PeopleUnknown`, `CatalogDown`, `Busy`.
        """
        await self._compared()
        closed = self.authority.closed()
        if closed is not None:
            raise closed
        index, rules, layers = self.index, self.authority.rules(), self.authority.layers
        if self.user is not None:
            self._who = await self.authority.find(self.user) or ANONYMOUS
        who, names = self._who, await index.stored_names()
        by = (
            await index.context.world.thinking(visibility_of, rules, who)
            if layers is None
            else await layers.visibility(who)  # after the list: it is about its projects
        )
        self._fetches = who.admin or rules.fetch.include(who)
        serial = await index.list_serial()
        seen = names
        if not by.sees_all:
            seen = await index.context.world.thinking(Sieve(_seen_by(by)).of, names)
        if by.bases:
            seen = as_readable(seen, await index.layer_projects(), by)
        return ExportView(
            seen, len(names) - len(seen), serial if by.sees_all else None, self._fetches
        )

    async def _compared(self) -> None:
        """Wait until the catalog has been reconciled with the storage: before that, projects may be
        missing from it. Raises `Busy`.
        """
        index, waited = self.index, 0.0
        while not (await index.catalog.is_complete() and index.lists_are_complete):
            if waited >= LONGEST:
                raise Busy("The storage is still being read.", retry_after=60)
            await deferLater(index.context.world.clock, LOOK)
            waited += LOOK

    def basis(self, options: ExportOptions, look: ExportView) -> TreeBasis:
        index = self.index
        return TreeBasis(options, index.context.policy, look.fetches, index.catalog.generation)

    def fingerprint(self, name: ProjectName) -> Fingerprint | None:
        index = self.index
        if not index.is_alone(name):
            return None  # the heads are those of one index
        # restrictions have no number that a later process could compare
        is_restricted = index.context.policy.restrictions.current.of(name) is not None
        context, cached = index.context, index.listings.kept.records
        may_have_missed_an_update = (
            not context.records.is_compared
            or name in context.being_adopted
            or name in context.records.pending_updates
            or name in cached.pending_updates
        )
        if is_restricted or may_have_missed_an_update:
            return None
        local, upstream = index.catalog.heads(name)
        serial = -1 if local is None else local.serial
        policy = index.context.policy
        if local is not None and (serial < 0 or not policy.allow_mixed):
            return (serial, -1) if serial >= 0 else None
        ours = Presence.ABSENT if local is None else Project(name=name)
        if not may_show_upstream(policy, name, ours):
            return (serial, -1)
        return None if upstream is None else (serial, upstream.serial)

    async def project(self, name: ProjectName) -> tuple[Project, datetime | None] | None:
        online = self._fetches and not self.stored_only
        layers = self.authority.layers
        may_read = may_read_all if layers is None else partial(layers.may_read, self._who)
        return await stored_view(self.index, name, online=online, may_read=may_read)

    async def metadata(
        self, project: Project, *, all: bool
    ) -> tuple[dict[str, bytes], StorageDown | None]:
        is_long = len(project.files) > FEW_FILES
        described = (
            await self.index.context.world.thinking(_described, project, all)
            if is_long
            else _described(project, all)
        )
        jobs = [self._reads.run(self.read_metadata, file) for file in described.values()]
        found, error = dict[str, bytes](), None
        for version, read in zip(described, await all_of(jobs), strict=True):
            if isinstance(read, StorageDown):
                error = read
            elif read is not None:
                found[version] = read
        return found, error

    async def read_metadata(self, file: File) -> bytes | StorageDown | None:
        """Return the core metadata of a file; None if there is none, or why it cannot be read."""
        try:
            return await self.index.metadata(file, STORED)
        except NoSuchFile:
            return None
        except StorageDown as error:
            return error

    async def url(self, file: File, lifetime: timedelta) -> str:
        home, its_file = await self.index.home(file)
        await home.reader.judge(its_file)
        assert isinstance(its_file, StoredFile)  # as the file of the view
        link = await home.context.blobs.link(its_file.key, lifetime, file.filename)
        if link is None:
            raise BadRequest(
                "This storage signs no URLs: signed links need a bucket ([storage] backend = s3)."
            )
        return link.url

    async def body(self, copy: Copy) -> Body:
        match copy.piece:
            case FilePiece.BYTES:
                body = await self.index.open(copy.file, None, STORED)
                return VerifiedBody(body, copy.file, self.index.context.world.blocking)
            case FilePiece.METADATA:
                return BytesBody(await self.index.metadata(copy.file, STORED))
            case FilePiece.PROVENANCE:
                return BytesBody(await self.index.provenance(copy.file))


def _described(project: Project, all: bool) -> dict[str, File]:
    """Return the files whose core metadata is needed, by version."""
    if not any(file.metadata_sha256 for file in project.files):
        return {}
    return {
        version: file
        for version in described_releases(project, all=all)
        if (file := describing_file(project, version)) is not None
    }


def _seen_by(by: Visibility) -> Callable[[Run], Run]:
    def keep(run: Run) -> Run:
        kept = tuple([summary for summary in run if by.sees(summary.name)])
        return run if len(kept) == len(run) else kept

    return keep
