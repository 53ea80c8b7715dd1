"""Browse the contents of files: list their members and open one, from the storage or from upstream.

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

from attrs import define, field
from twisted.internet.defer import DeferredLock, DeferredSemaphore

from pypid.core.archives.contents import (
    MOST_SHOWN,
    MemberListing,
    OpenedMember,
    is_zip,
    list_members,
    open_tarred,
    open_zipped,
)
from pypid.core.archives.members import LARGEST_PART, UnusableArchive
from pypid.core.archives.partial_wheel import WheelParts, first_part, look
from pypid.core.delivery import PassOn, delivery
from pypid.core.errors import (
    Busy,
    NoSuchFile,
    NoSuchMember,
    Opaque,
    StorageDown,
    UpstreamDown,
    WrongBytes,
)
from pypid.core.lru import Recent
from pypid.core.model import File, ListedFile, Span, StoredFile
from pypid.core.policy import UnknownOwner
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
    _listings: Derived[tuple[Key, bool], MemberListing] = field(init=False, repr=False)
    _opened: Derived[tuple[Key, str, bool], OpenedMember] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        world = self.index.world
        self._listings = Derived(
            "archive_listings", world, Recent(_MOST, _LISTED), weigh=lambda found: found.weight
        )
        self._opened = Derived(
            "archive_members", world, Recent(_MOST, _OPENED), weigh=lambda it: 500 + len(it.data)
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
            needed = await self.index.world.thinking(look, wheel, reading)
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
            async with Spool(self.spool, self.index.world.blocking) as spool:
                await self._receive(file, body, spool)
                return await self._go_through(_read_spool, spool, reading)

    async def _go_through(self, call: Callable[..., T], *args: object) -> T:
        """Read an archive in a thread; only one at a time, since uploads need `looking` as well."""
        async with self._through:
            return await self.looking.run(self.index.world.blocking, call, *args)

    async def _receive(self, file: File, body: Body, spool: Spool) -> None:
        """Write all of the body into the spool. Raises `WrongBytes` if its hash is wrong."""
        came, clock = 0, self.index.world.clock
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
        is_passed_on = isinstance(delivery(self.index.policy, file), PassOn)
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
