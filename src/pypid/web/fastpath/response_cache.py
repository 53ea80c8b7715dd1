"""What the front door keeps: askers by the words of their requests, and for each kind of them the
answers by request line.
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
"""Bytes of a body that lies behind its head in one piece; a larger one stays where it is."""
COST = 1500
"""Bytes that anything kept takes beside what it holds, about."""
FOR_EVER = float("inf")


@define(eq=False)
class Sent:
    """An answer as it was written: all but its date."""

    before: bytes = field(repr=False)
    after: bytes = field(repr=False)
    body: bytes = field(repr=False)
    """What follows `after`, if it is too long to be copied each second."""
    said: SharedLogFields
    gives: bool
    """Whether the file that the answer is about is given by it."""
    file: OpenFile | None = field(default=None, repr=False)
    """What follows `after`, if it is a file."""
    date: bytes = b""
    head: bytes = field(default=b"", repr=False)
    """All but `body`, with this date."""
    pages: MemoryFile | None = field(default=None, repr=False)
    """`body` again, for the kernel."""

    def renew(self, date: bytes) -> None:
        """It is another second."""
        self.date, self.head = date, self.before + date + self.after


def sent(
    head: SentHead, body: bytes, said: SharedLogFields, *, gives: bool, file: OpenFile | None = None
) -> Sent | None:
    """The answer that was sent so; None where its date is not where it should be."""
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
    """The answers for everybody of one kind, by request line."""

    __slots__ = ("__weakref__",)


@define(eq=False)
class LruEntry:
    """Something that is kept until it is the one that was used longest ago."""

    weight: int
    used: float


@define(eq=False)
class CachedResponse(LruEntry):
    """What one request line is answered with, for one kind of askers."""

    line: bytes = field(repr=False)
    shelf: SharedResponses = field(repr=False)
    rights: int
    """Which rules it was made by."""
    changes: int
    standing: Validity | None
    """What holds of its project; None: it is of all projects, as they were after so many `changes`.
    """
    until: float
    """When it ends by itself, on the reactor's clock."""
    etag: bytes | None
    file: File | None
    seen: int
    """At which look around it was last found to hold."""
    asks: bool
    full: Sent | None = None
    """The whole of it."""
    same: Sent | None = None
    """What says that it is what the client has already."""
    noted: tuple[bytes, str | None, ResponseVariant] | None = field(default=None, repr=False)
    """At which date, and to whom, it was last noted that the file was given."""

    def drop(self) -> None:
        """Be no answer any more."""
        if self.shelf.get(self.line) is self:
            del self.shelf[self.line]


@define(eq=False)
class ResponseVariant(LruEntry):
    """Somebody who asks, in these words."""

    words: bytes = field(repr=False)
    """Themselves, or a keyed hash of them."""
    among: dict[bytes, ResponseVariant] = field(repr=False)
    shelf: SharedResponses = field(repr=False)
    asker: LogClient
    client: str | None
    """The address, where the words say it; "" where the connection does."""
    identity: Identity
    token: str | None
    proven: bool
    """Whether they have proved who they are: then only for an `epoch`, and `until` a time on the
    reactor's clock.
    """
    epoch: int
    until: float
    noted: tuple[bytes, str | None] | None = None
    """At which date, and from where, the use of a token was last noted."""

    def drop(self) -> None:
        """Be nobody that is known."""
        if self.among.get(self.words) is self:
            del self.among[self.words]


@define(eq=False)
class ResponseCache:
    """All that is kept, no more than `limit` bytes; what was used longest ago goes first, to the
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
        """The answers for askers of this kind."""
        found = self.shelves.get(kind)
        if found is None:
            found = self.shelves[kind] = SharedResponses()
        return found

    def add(self, held: CachedResponse | ResponseVariant) -> None:
        """Keep it; others may have to go."""
        self._held.add(held)
        self.weight += held.weight
        if self.weight > self.limit:
            self._make_room()

    def grow(self, held: CachedResponse, weight: int) -> None:
        """There is more of it; others may have to go."""
        held.weight += weight
        if held in self._held:
            self.weight += weight
            if self.weight > self.limit:
                self._make_room()

    def drop(self, held: CachedResponse | ResponseVariant) -> None:
        """Keep it no longer."""
        if held in self._held:
            self._held.discard(held)
            self.weight -= held.weight
        held.drop()

    def clear(self) -> None:
        """Keep nothing any longer."""
        for held in tuple(self._held):
            self.drop(held)

    def _make_room(self) -> None:
        """A tenth at once: to look for the oldest one each time would take long."""
        for held in sorted(self._held, key=lambda held: held.used):
            if self.weight <= self.limit * 0.9:
                break
            self.drop(held)


def weight_of(answers: Iterable[Sent | None]) -> int:
    """Bytes."""
    return sum(
        len(each.before) + 2 * len(each.after) + 2 * len(each.body)
        for each in answers
        if each is not None
    )


def seconds_until(moment: datetime | None, now: datetime, seconds: Callable[[], float]) -> float:
    """A time of day, on the reactor's clock; rather a moment too early than too late."""
    return FOR_EVER if moment is None else seconds() + (moment - now).total_seconds() - 1e-4
