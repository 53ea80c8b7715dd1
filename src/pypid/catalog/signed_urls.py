"""Signed URLs of files, reused while they are valid, so that the caches of pip, uv and proxies
recognize them; and their snapshot, a file in the state folder, so that clients get the same ones
after a restart.

A new URL for each request would be another file to every cache between the store and the client.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
from attrs import define, evolve, field
from twisted.logger import Logger

from pypid.core.errors import CatalogDown, Unreadable
from pypid.core.model import SignedUrl, StoredFile
from pypid.core.records.documents import FORMAT, dump, load
from pypid.core.times import AHEAD
from pypid.flow import World
from pypid.flow.derived import Flights
from pypid.ports import Blobs

_log = Logger()

MOST = 50_000
"""URLs that are cached, some 30 MB; the least recently used are dropped first."""
AGAIN = timedelta(seconds=10)
"""Time until sharing a URL is tried again after a failure."""
SAME_SIGNER = timedelta(seconds=10)
"""How long a finished redirect is reused before the signer is asked again: keys may be rotated at
any time.
"""
RESTRICTED_LIFETIME, RESTRICTED_BUFFER = timedelta(minutes=15), timedelta(minutes=5)
"""Upper limits for signed URLs of files that not everyone may download."""


class SharedLinks(Protocol):
    """Signed URLs that several nodes share, by key. Every method raises `CatalogDown`; a URL is
    never logged.
    """

    async def link(self, key: str, good_after: datetime) -> SignedUrl | None:
        """Return the URL that all nodes use, if there is one that ends after `good_after`."""

    async def keep_link(self, key: str, link: SignedUrl, good_after: datetime) -> SignedUrl:
        """Return the URL that all nodes use from now on: this one, or one that is stored already
        and ends after `good_after`.
        """


@define(eq=False)
class Links:
    """The signed URLs of one storage.

    `lifetime` is the requested validity of a URL (`[storage] expire_after`); it is dropped `buffer`
    before its end (`buffer_time`), so that a client has at least that long to use it.
    """

    blobs: Blobs
    world: World
    lifetime: timedelta
    buffer: timedelta
    most: int = MOST
    shared: SharedLinks | None = field(default=None, repr=False)
    """Shares the URLs with other nodes. While it is unavailable each node uses its own."""
    signer: Callable[[], str | None] = field(default=lambda: "", repr=False)
    """Returns the current signer (`SignedUrl.signer`); None while that is unknown. URLs that other
    keys signed are not used any more.
    """
    restricted: Links | None = field(default=None, repr=False)
    """URLs of files that not everyone may download: they end soon, since a URL outlives the right
    to read, and no snapshot has them.
    """
    changes: int = field(default=0, init=False)
    """Grows with each new URL: then the file of URLs is outdated."""
    _held: OrderedDict[str, SignedUrl] = field(factory=OrderedDict, init=False, repr=False)
    _unshared: dict[str, float] = field(factory=dict, init=False, repr=False)
    """Keys whose URL only this node uses, and when sharing is tried again."""
    _flights: Flights[str, SignedUrl | None] = field(factory=Flights, init=False, repr=False)

    async def link(self, file: StoredFile) -> SignedUrl | None:
        """Return a URL that gives access to the bytes of the file; None if the store has no signed
        URLs.

        Raises `StorageDown` if none can be signed (no credentials).
        """
        key = file.key
        held = self._held.get(key)
        is_known = self.signer() is not None
        if held is not None and is_known and self._is_good(held) and not self._may_be_shared(key):
            self._held.move_to_end(key)
            return held
        return await self._flights.single(key, lambda: self._signed(key, file.filename))

    async def _signed(self, key: str, filename: str) -> SignedUrl | None:
        if (
            self.signer() is None
        ):  # the storage is not open yet; after this call the signer is known
            await self.blobs.link(key, self.lifetime, filename)
        shared = None if self.shared is None else await self._shared(self.shared, key, filename)
        link = shared or self._good(key) or await self.blobs.link(key, self.lifetime, filename)
        if link is not None and self._is_good(link) and link != self._held.get(key):
            self._keep(key, link)
        if key not in self._held:
            self._unshared.pop(key, None)
        return link

    # --- with other nodes ---

    def _may_be_shared(self, key: str) -> bool:
        again = self._unshared.get(key)
        return self.shared is not None and again is not None and self.world.clock.seconds() >= again

    async def _shared(self, shared: SharedLinks, key: str, filename: str) -> SignedUrl | None:
        """Return the URL that all nodes use; None if sharing fails, or there is none that is valid
        for long enough.
        """
        signer = self.signer() or ""
        name, good_after = f"{key}\0{filename}\0{signer}", self.world.now() + self.buffer
        try:
            link = await shared.link(name, good_after)
            if link is None:
                link = self._good(key) or await self.blobs.link(key, self.lifetime, filename)
                if link is not None and self._is_good(link):
                    self._keep(key, link)  # also if sharing it fails
                    link = await shared.keep_link(name, link, good_after)
            link = None if link is None else evolve(link, signer=signer)
        except CatalogDown:
            self._unshared[key] = self.world.clock.seconds() + AGAIN.total_seconds()
            return None
        self._unshared.pop(key, None)
        return link

    def _good(self, key: str) -> SignedUrl | None:
        held = self._held.get(key)
        return held if held is not None and self._is_good(held) else None

    def _is_good(self, link: SignedUrl) -> bool:
        """Return whether the current keys signed it and it lasts for `buffer`.

        One that outlasts a new one was signed before the clock was set back.
        """
        if self.signer() not in (None, link.signer):
            return False
        left = link.expires - self.world.now()
        return self.buffer < left <= self.lifetime + AHEAD

    def _keep(self, key: str, link: SignedUrl) -> None:
        self._held[key] = link
        self._held.move_to_end(key)
        self.changes += 1
        if len(self._held) > self.most:
            forgotten, _ = self._held.popitem(last=False)
            self._unshared.pop(forgotten, None)

    # --- for the snapshot ---

    def good(self) -> list[tuple[str, SignedUrl]]:
        """Return the valid URLs by key, the least recently used first."""
        return [(key, link) for key, link in self._held.items() if self._is_good(link)]

    def remember(self, links: Iterable[tuple[str, SignedUrl]]) -> None:
        """Load the URLs that were `good` before a restart."""
        for key, link in links:
            if self._is_good(link) and key not in self._held:
                self._keep(key, link)
                # other nodes may give another one by now
                self._unshared[key] = self.world.clock.seconds()


# --- the snapshot ---

FILE = "urls.jsonl"
LARGEST = MOST * 4096
"""Bytes of the largest file that is read."""


class _Head(msgspec.Struct, frozen=True):
    """The first line. `signer` identifies the signer of these URLs; `lines` is the number of lines
    that follow.
    """

    signer: str
    lines: int
    format: int = FORMAT


class _Line(msgspec.Struct, frozen=True):
    key: str
    url: str
    expires: Annotated[datetime, msgspec.Meta(tz=True)]
    signer: str = ""


@define(eq=False)
class WrittenLinks:
    """A file in `folder`, kept up to date with `links`. `signer`: URLs of another
    signer are ignored.
    """

    links: Links
    folder: Path
    signer: str
    world: World
    _changes: int = field(default=0, init=False)

    async def load(self) -> int:
        """Load the URLs that are still valid; return their number. An unreadable file is ignored,
        with a line in the log.
        """
        try:
            found = await self.world.blocking(_read, self.folder / FILE, self.signer)
        except FileNotFoundError:
            return 0
        except (Unreadable, OSError) as error:
            _log.warn(
                "The stored signed URLs are ignored: {error}",
                error=_without_content(error),
            )
            return 0
        self.links.remember(found)
        self._changes = self.links.changes
        return len(self.links.good())

    async def write(self) -> bool:
        """Write the URLs if they have changed since the last time; return whether that is done. A
        failure is logged.
        """
        changes = self.links.changes
        if changes == self._changes:
            return True
        try:
            await self.world.blocking(_write, self.folder, self.signer, self.links.good())
        except OSError as error:
            _log.error(
                "The signed URLs could not be stored: {error}", error=_without_content(error)
            )
            return False
        self._changes = changes
        return True


def _read(path: Path, signer: str) -> list[tuple[str, SignedUrl]]:
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Unreadable(FILE, "it is too large")
    first, *lines = data.splitlines() or [b""]
    head = load(_Head, first, FILE)
    if head.signer != signer:
        return []
    if len(lines) != head.lines:
        raise Unreadable(FILE, f"it has {len(lines)} lines instead of {head.lines}")
    decoder = msgspec.json.Decoder(_Line)
    try:
        return [
            (line.key, SignedUrl(line.url, line.expires, line.signer))
            for line in map(decoder.decode, lines)
        ]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable(
            FILE, "a line of it is not written by pypid"
        ) from None  # not chained: the cause may quote a URL


def _write(folder: Path, signer: str, links: Iterable[tuple[str, SignedUrl]]) -> None:
    """Replace the file atomically, so that a crash leaves the one before. It is not synced: if a
    power cut damages it, it is ignored.
    """
    lines = [dump(_Line(key, link.url, link.expires, link.signer)) for key, link in links]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f"{FILE}.part"
    part.unlink(missing_ok=True)
    descriptor = os.open(
        part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(b"".join((dump(_Head(signer, len(lines))), *lines)))
    part.replace(folder / FILE)


def _without_content(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)
