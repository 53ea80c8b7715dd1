"""Contents of files, from the storage or from upstream: browsed, and compared between releases.

Of a zip (wheels, eggs) only the directory and the wanted member are read, by ranges; upstream bytes
read so are not cached, and their hash is not verified. A tar has to be read from its beginning:
from the file on disk if it is stored there, else through a spool; an upstream tar is cached on the
way, as if it had been downloaded. Browsing does not count as a download.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from attrs import Factory, define, field, frozen
from twisted.internet.defer import DeferredLock, DeferredSemaphore

from pypid.core.archives.contents import (
    MOST_SHOWN,
    Inner,
    MemberListing,
    OpenedMember,
    Text,
    is_zip,
    list_members,
    open_tarred,
    open_zipped,
    read_text,
)
from pypid.core.archives.differences import (
    DiffLine,
    FieldDifference,
    MemberDifferences,
    Pair,
    choose_pair,
    member_differences,
    metadata_differences,
    pairs_of,
    text_differences,
)
from pypid.core.archives.members import LARGEST_PART, UnusableArchive
from pypid.core.archives.zips import WheelParts, first_part, look
from pypid.core.caches import Recent
from pypid.core.errors import (
    Busy,
    NoSuchFile,
    NoSuchMember,
    Opaque,
    PypidError,
    StorageDown,
    UpstreamDown,
    WrongBytes,
)
from pypid.core.model import File, ListedFile, Span, StoredFile
from pypid.core.packaging.core_metadata import CoreMetadata, read_metadata
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import Release
from pypid.core.policy import PassOn, UnknownOwner, delivery
from pypid.flow import FileBody, whole
from pypid.flow.derived import Derived
from pypid.flow.spool import Spool
from pypid.index.index import Index
from pypid.index.upstream.file_cache import PATIENCE, SLOWEST
from pypid.index.views import DIRECT, UpstreamPermission
from pypid.ports import Body

MOST_SPOOLED = 256 << 20
"""Largest file in bytes that is spooled for browsing; a file on local disk may be larger."""
AT_ONCE, MOST_WAITING = 4, 100
"""Files browsed at the same time, each with at most one spool; and requests that may wait."""
_HEADER = 30 + 1024
"""Bytes read before a member's data in a zip, in addition to its name: extra fields are mostly
shorter.
"""
_TOO_LARGE = f"it is larger than the {MOST_SPOOLED >> 20} MiB that are looked through; download it."
_SHORTER = "it ends before it should."
_MOST, _LISTED, _OPENED = 500, 32 << 20, 16 << 20

T = TypeVar("T", MemberListing, OpenedMember)
Key = tuple[str, str, str | None, str | None]
Reading = Callable[[BinaryIO], T]


@define(eq=False)
class Contents:
    """Reads the contents of files that the caller has found visible (`Index.file`). Recent results
    are cached in memory.

    `looking` is held while a thread reads through a whole archive. Everything raises `Opaque` for a
    file that cannot be browsed, `Busy` if too many requests wait, and what `Index.open` raises.
    """

    index: Index
    spool: Path
    looking: DeferredSemaphore
    caches: bool = True
    """Whether an upstream tar is cached when it is read."""
    _through: DeferredLock = field(factory=DeferredLock, init=False, repr=False)
    _turn: DeferredSemaphore = field(
        factory=lambda: DeferredSemaphore(AT_ONCE), init=False, repr=False
    )
    _listings: Derived[tuple[Key, bool], MemberListing] = field(
        default=Factory(
            lambda self: Derived(
                "archive_listings",
                self.index.context.world,
                Recent(_MOST, _LISTED),
                weigh=lambda found: found.weight,
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )
    _opened: Derived[tuple[Key, str, bool], OpenedMember] = field(
        default=Factory(
            lambda self: Derived(
                "archive_members",
                self.index.context.world,
                Recent(_MOST, _OPENED),
                weigh=lambda member: 500 + len(member.data),
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )

    async def listing(self, file: File, permission: UpstreamPermission = DIRECT) -> MemberListing:
        """Return the members of the file."""
        job = partial(self._list, file, permission)
        return await self._listings.get(
            (_key(file), permission.may_reach_out),
            _edition(file, permission),
            lambda: self._in_turn(file, job),
        )

    async def member(
        self, file: File, path: str, permission: UpstreamPermission = DIRECT
    ) -> OpenedMember:
        """Return one member with its first bytes. Raises `NoSuchMember`."""
        key = (_key(file), path, permission.may_reach_out)
        edition = _edition(file, permission)
        kept = self._opened.kept(key, edition)
        if kept is not None:
            return kept
        listing = await self.listing(
            file, permission
        )  # before acquiring a slot, since it takes one, too
        job = partial(self._open, file, listing, path, permission)
        return await self._opened.get(key, edition, lambda: self._in_turn(file, job))

    async def _in_turn(self, file: File, job: Callable[[], Awaitable[T]]) -> T:
        """Run the job once a slot is free. Raises `Busy` if too many wait, `Opaque` if the archive
        is unusable.
        """
        if len(self._turn.waiting) >= MOST_WAITING:
            raise Busy("Too many users look into files now.")
        await self._turn.acquire()
        try:
            return await job()
        except UnusableArchive as problem:
            raise Opaque(file.filename, str(problem)) from None
        finally:
            self._turn.release()

    async def _list(self, file: File, permission: UpstreamPermission) -> MemberListing:
        reading: Reading[MemberListing] = partial(list_members, filename=file.filename)
        if is_zip(file.filename) and file.size:
            return await self._by_parts(file, file.size, first_part(file.size), reading, permission)
        return await self._whole(file, reading, permission)

    async def _open(
        self, file: File, listing: MemberListing, path: str, permission: UpstreamPermission
    ) -> OpenedMember:
        member = listing.member(path)
        if member is None:
            raise NoSuchMember(file.filename, path)
        if member.entry is None:
            return await self._whole(
                file, partial(_tarred, filename=file.filename, path=path), permission
            )
        reading: Reading[OpenedMember] = partial(open_zipped, member=member)
        if not file.size:
            return await self._whole(file, reading, permission)
        entry, most = member.entry, MOST_SHOWN + (MOST_SHOWN >> 4)
        start = min(entry.offset, file.size)
        stop = min(file.size, start + _HEADER + len(entry.raw_name) + min(entry.packed, most))
        return await self._by_parts(file, file.size, Span(start, stop), reading, permission)

    # --- reading ---

    async def _by_parts(
        self,
        file: File,
        size: int,
        first: Span,
        reading: Reading[T],
        permission: UpstreamPermission,
    ) -> T:
        wheel = WheelParts(size)
        needed: T | Span = first
        while isinstance(needed, Span):
            wheel.add(needed, await self._read(file, needed, permission))
            needed = await self.index.context.world.thinking(look, wheel, reading)
        return needed

    async def _read(self, file: File, span: Span, permission: UpstreamPermission) -> bytes:
        if span.start >= span.stop:
            return b""
        body = await self._body(file, span, permission)
        try:
            return await whole(body, LARGEST_PART)
        except ValueError:
            raise UnusableArchive("more bytes came than were requested.") from None
        except EOFError:
            raise UnusableArchive(_SHORTER) from None
        except OSError:
            raise StorageDown(f"{file.filename!r} cannot be read.") from None

    async def _whole(self, file: File, reading: Reading[T], permission: UpstreamPermission) -> T:
        """Read the whole file, in place if it is on disk, else through a spool."""
        if (
            isinstance(file, ListedFile) and file.size is not None and file.size > MOST_SPOOLED
        ):  # before it is fetched
            raise UnusableArchive(_TOO_LARGE)
        async with aclosing(await self._body(file, None, permission)) as body:
            if isinstance(body, FileBody):
                return await self._go_through(reading, body.file)
            async with Spool(self.spool, self.index.context.world.blocking) as spool:
                await self._receive(file, body, spool)
                return await self._go_through(_read_spool, spool, reading)

    async def _go_through(self, call: Callable[..., T], *args: object) -> T:
        """Read an archive in a thread; only one at a time, since uploads need `looking` as well."""
        async with self._through:
            return await self.looking.run(self.index.context.world.blocking, call, *args)

    async def _receive(self, file: File, body: Body, spool: Spool) -> None:
        """Write all of the body into the spool. Raises `WrongBytes` if its hash is wrong."""
        came, clock = 0, self.index.context.world.clock
        began, pieces = clock.seconds(), aiter(body)
        if body.size is not None and body.size > MOST_SPOOLED:
            raise UnusableArchive(_TOO_LARGE)
        try:
            async for piece in pieces:
                came += len(piece)
                if came > MOST_SPOOLED:
                    raise UnusableArchive(_TOO_LARGE)
                if (lasted := clock.seconds() - began) > PATIENCE and came < lasted * SLOWEST:
                    raise UpstreamDown(f"{file.filename} comes too slowly.", timed_out=True)
                await spool.write(piece)
        except EOFError:
            raise UnusableArchive(_SHORTER) from None
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()
        digests = await spool.finish()
        if file.sha256 not in (None, digests.sha256):
            raise WrongBytes(
                file.filename, f"sha256 is {digests.sha256}, and should be {file.sha256}."
            )

    async def _body(self, file: File, span: Span | None, permission: UpstreamPermission) -> Body:
        """Return the bytes. For a file whose downloads are redirected upstream, they come from
        upstream and are not cached.
        """
        is_passed_on = isinstance(delivery(self.index.context.policy, file), PassOn)
        if isinstance(file, StoredFile) or (self.caches and not is_passed_on):
            return await self.index.open(file, span, permission)
        if not permission.may_reach_out or file.source is None:
            raise permission.refusal or NoSuchFile(file.filename)
        try:
            home, _ = await self.index.home(file, permission)
            return await home.gate.fetch(file.project, file.source, span, permission.via)
        except UnknownOwner:
            raise NoSuchFile(file.filename) from None


def _key(file: File) -> Key:
    """Return the key of a file in the caches. The hash alone is not enough: an upstream file's hash
    has not been verified.
    """
    return file.project, file.filename, file.source, file.sha256


def _edition(file: File, permission: UpstreamPermission) -> str | None:
    """Return what identifies the contents of a file that the client could download itself, too;
    else None. A file that is only upstream requires the right to have it fetched.
    """
    may_have = not isinstance(file, ListedFile) or permission.may_reach_out
    return file.sha256 if may_have else None


def _read_spool(spool: Spool, reading: Reading[T]) -> T:
    with spool.inspected() as file:
        return reading(file)


def _tarred(file: BinaryIO, filename: str, path: str) -> OpenedMember:
    opened = open_tarred(file, filename, path)
    if opened is None:
        raise NoSuchMember(filename, path)
    return opened


# Comparison of two releases of a project: the files are read here, and `core.archives.differences`
# computes the differences.

FEW_FILES = 256
"""Largest number of files of two releases that are paired on the reactor thread: it takes some
milliseconds.
"""


@frozen(kw_only=True)
class Compared:
    """What differs between two releases, identified by their versions. Of the pairs of files, the
    members of one are compared.
    """

    old: str
    new: str
    fields: tuple[FieldDifference, ...] | None
    """None: the metadata of one of them is not available."""
    pairs: tuple[Pair, ...]
    chosen: Pair | None
    """The pair whose members are compared; None if the two releases have no files of the same kind.
    """
    members: MemberDifferences | None = None
    problem: str | None = None
    """Why there are no `members`, though there is a pair."""


@frozen
class ComparedText:
    """The differing lines of one member; or, if there are none to show, why."""

    path: str
    lines: tuple[DiffLine, ...] | None = field(default=None, repr=False)
    problem: str | None = None


@frozen
class Comparison:
    """Compares releases of a project whose files the caller has found visible."""

    contents: Contents
    project: ProjectName
    permission: UpstreamPermission

    async def compare(self, old: Release, new: Release, kind: str | None = None) -> Compared:
        """Return all that differs. Parts that are not available are left out, with the reason."""
        is_long = len(old.files) + len(new.files) > FEW_FILES
        thinking = self.contents.index.context.world.thinking
        pairs = (
            await thinking(pairs_of, old.files, new.files)
            if is_long
            else pairs_of(old.files, new.files)
        )
        chosen = choose_pair(pairs, kind)
        members: MemberDifferences | None = None
        problem: str | None = None
        if chosen is not None and chosen.old is not None and chosen.new is not None:
            try:
                members = await self.members(chosen.old, chosen.new)
            except PypidError as error:
                problem = str(error)
            else:
                problem = (
                    None
                    if members is not None
                    else "There are too many members in these files to compare them."
                )
        elif chosen is not None:
            problem = "Only one of the two releases has such a file."
        return Compared(
            old=old.version,
            new=new.version,
            fields=await self._fields(old, new),
            pairs=pairs,
            chosen=chosen,
            members=members,
            problem=problem,
        )

    async def members(self, old: File, new: File) -> MemberDifferences | None:
        """Return what differs in two files, or None if one has more members than are listed. Raises
        what `Contents.listing` raises.
        """
        one, other = (
            await self.contents.listing(old, self.permission),
            await self.contents.listing(new, self.permission),
        )
        return await self.contents.index.context.world.thinking(_members, one, other, self.project)

    async def text(self, old: File, new: File, path: str) -> ComparedText:
        """Return the differing lines of the member with this path (without the version, as in
        `MemberDifferences`).

        Raises `NoSuchMember` if it does not differ, and what `Contents.member` raises.
        """
        found = await self.members(old, new)
        changed = None if found is None else found.changed.get(path)
        one = (
            changed.old
            if changed is not None
            else None
            if found is None
            else found.removed.get(path)
        )
        other = (
            changed.new if changed is not None else None if found is None else found.added.get(path)
        )
        if one is None and other is None:
            raise NoSuchMember(new.filename, path)
        texts = await self._text(old, one), await self._text(new, other)
        if texts[0] is None or texts[1] is None:
            return ComparedText(path, problem="It is no text, or a very large one.")
        lines = await self.contents.index.context.world.thinking(
            text_differences, texts[0].text, texts[1].text
        )
        return ComparedText(
            path, lines, "Too many lines differ to compare them." if lines is None else None
        )

    async def _text(self, file: File, member: Inner | None) -> Text | None:
        if member is None:
            return Text("", "utf-8")
        opened = await self.contents.member(file, member.path, self.permission)
        return None if opened.is_cut else read_text(opened.data, cut=False)

    async def _fields(self, old: Release, new: Release) -> tuple[FieldDifference, ...] | None:
        if old == new:
            return ()
        one = await self._described(old)
        other = None if one is None else await self._described(new)
        if one is None or other is None:
            return None
        return await self.contents.index.context.world.thinking(_fields, one, other)

    async def _described(self, release: Release) -> bytes | None:
        """Return the core metadata of the release: the stored metadata, else that of a wheel, or of
        an sdist that is stored here.
        """
        wheels_first = sorted(
            release.files,
            key=lambda file: (not file.metadata_sha256, not file.filename.endswith(".whl")),
        )
        for file in wheels_first[:3]:
            try:
                if file.metadata_sha256 or file.filename.endswith(".whl"):
                    return await self.contents.index.metadata(file, self.permission)
                if isinstance(file, StoredFile):
                    return await self._pkg_info(file)
            except PypidError:
                continue
        return None

    async def _pkg_info(self, file: File) -> bytes:
        listing = await self.contents.listing(file, self.permission)
        for member in listing.members:
            folder, _, name = member.path.partition("/")
            if name == "PKG-INFO" and folder:
                opened = await self.contents.member(file, member.path, self.permission)
                return opened.data
        raise NoSuchMember(file.filename, "PKG-INFO")


def _members(
    old: MemberListing, new: MemberListing, project: ProjectName
) -> MemberDifferences | None:
    return None if old.more or new.more else member_differences(old.members, new.members, project)


def _fields(old: bytes, new: bytes) -> tuple[FieldDifference, ...]:
    one: CoreMetadata = read_metadata(old)
    return metadata_differences(one, read_metadata(new))
