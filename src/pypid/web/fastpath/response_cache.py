"""The cache of the fast path: clients by their header blocks, and for each kind of client the
responses by request line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from weakref import WeakValueDictionary

from attrs import define, field

from pypid.core.model import File
from pypid.core.permissions import Identity
from pypid.index.store.validity import Validity
from pypid.web.fastpath.dependencies import SentHead
from pypid.web.fastpath.socket_write import MemoryFile
from pypid.web.http.access_log import LogClient, SharedLogFields
from pypid.web.http.open_file import OpenFile

SMALL = 1 << 15
"""Maximum bytes of a body that is copied behind its head; a larger one stays separate."""
COST = 1500
"""Approximate overhead of an entry in bytes."""
FOR_EVER = float("inf")


@define(eq=False)
class Sent:
    """A response as it was written: all but its date."""

    before: bytes = field(repr=False)
    after: bytes = field(repr=False)
    body: bytes = field(repr=False)
    """What follows `after`, if it is too long to be copied each second."""
    said: SharedLogFields
    gives: bool
    """Whether the response sends the file that it is about."""
    file: OpenFile | None = field(default=None, repr=False)
    """What follows `after`, if it is a file."""
    date: bytes = b""
    head: bytes = field(default=b"", repr=False)
    """All but `body`, with this date."""
    pages: MemoryFile | None = field(default=None, repr=False)
    """A copy of `body` in a memory file, for the kernel to send."""

    def renew(self, date: bytes) -> None:
        """Rebuild the head with another date."""
        self.date, self.head = date, self.before + date + self.after


def sent(
    head: SentHead, body: bytes, said: SharedLogFields, *, gives: bool, file: OpenFile | None = None
) -> Sent | None:
    """Return the response that was sent; None if it does not have exactly one date."""
    dates = [at for at, (name, _) in enumerate(head.fields) if name == b"Date"]
    if len(dates) != 1:
        return None
    [at] = dates
    first = b"".join(
        [head.first, *(b"%s: %s\r\n" % field for field in head.fields[:at]), b"Date: "]
    )
    rest = b"".join([b"\r\n", *(b"%s: %s\r\n" % field for field in head.fields[at + 1 :]), b"\r\n"])
    if len(body) <= SMALL:
        rest, body = rest + body, b""
    return Sent(first, rest, body, said, gives, file)


class SharedResponses(dict[bytes, "CachedResponse"]):
    """The responses for all clients of one kind, by request line."""

    __slots__ = ("__weakref__",)


@define(eq=False)
class LruEntry:
    """A cache entry that is dropped when it is the least recently used."""

    weight: int
    used: float


@define(eq=False)
class CachedResponse(LruEntry):
    """The response to one request line, for one kind of client."""

    line: bytes = field(repr=False)
    shelf: SharedResponses = field(repr=False)
    rights: int
    """The version of the rules it was made by."""
    changes: int
    standing: Validity | None
    """The validity of its project's view; None: it depends on all projects, as they were after so
    many `changes`.
    """
    until: float
    """When it expires, on the reactor's clock."""
    etag: bytes | None
    file: File | None
    seen: int
    """The state (`FastPath.seen`) in which it was last found to hold."""
    asks: bool
    full: Sent | None = None
    """The full response."""
    same: Sent | None = None
    """The 304 response."""
    noted: tuple[bytes, str | None, ResponseVariant] | None = field(default=None, repr=False)
    """The date and the client of the last recorded download."""

    def drop(self) -> None:
        """Remove the response from its shelf."""
        if self.shelf.get(self.line) is self:
            del self.shelf[self.line]


@define(eq=False)
class ResponseVariant(LruEntry):
    """A client that sends this header block."""

    words: bytes = field(repr=False)
    """The header block, or a keyed hash of it."""
    among: dict[bytes, ResponseVariant] = field(repr=False)
    shelf: SharedResponses = field(repr=False)
    asker: LogClient
    client: str | None
    """The client's address, if the block states it; "" if it is that of the connection."""
    identity: Identity
    token: str | None
    proven: bool
    """Whether the identity comes from credentials: then it is valid only for an `epoch`, and
    `until` a time on the reactor's clock.
    """
    epoch: int
    until: float
    noted: tuple[bytes, str | None] | None = None
    """The date and the address of the last recorded use of the token."""

    def drop(self) -> None:
        """Remove this client from the cache."""
        if self.among.get(self.words) is self:
            del self.among[self.words]


@define(eq=False)
class ResponseCache:
    """All entries, at most `limit` bytes; the least recently used is dropped first, to the
    second.
    """

    limit: int
    shelves: WeakValueDictionary[object, SharedResponses] = field(
        factory=WeakValueDictionary, init=False, repr=False
    )
    weight: int = field(default=0, init=False)
    _held: set[CachedResponse | ResponseVariant] = field(factory=set, init=False, repr=False)

    def __len__(self) -> int:
        return len(self._held)

    def shelf(self, kind: object) -> SharedResponses:
        """Return the responses for clients of this kind."""
        found = self.shelves.get(kind)
        if found is None:
            found = self.shelves[kind] = SharedResponses()
        return found

    def add(self, held: CachedResponse | ResponseVariant) -> None:
        """Add an entry; others may be dropped."""
        self._held.add(held)
        self.weight += held.weight
        if self.weight > self.limit:
            self._make_room()

    def grow(self, held: CachedResponse, weight: int) -> None:
        """Increase the weight of an entry; others may be dropped."""
        held.weight += weight
        if held in self._held:
            self.weight += weight
            if self.weight > self.limit:
                self._make_room()

    def drop(self, held: CachedResponse | ResponseVariant) -> None:
        """Drop an entry."""
        if held in self._held:
            self._held.discard(held)
            self.weight -= held.weight
        held.drop()

    def clear(self) -> None:
        """Drop all entries."""
        for held in tuple(self._held):
            self.drop(held)

    def _make_room(self) -> None:
        """Drop the least recently used tenth at once: searching for the oldest entry each time
        would take long.
        """
        for held in sorted(self._held, key=lambda held: held.used):
            if self.weight <= self.limit * 0.9:
                break
            self.drop(held)


def weight_of(answers: Iterable[Sent | None]) -> int:
    """Return the approximate size of the responses in bytes."""
    return sum(
        len(each.before) + 2 * len(each.after) + 2 * len(each.body)
        for each in answers
        if each is not None
    )


def seconds_until(moment: datetime | None, now: datetime, seconds: Callable[[], float]) -> float:
    """Convert a time of day to the reactor's clock, rounded down to be safe; `FOR_EVER` for
    None.
    """
    return FOR_EVER if moment is None else seconds() + (moment - now).total_seconds() - 1e-4
