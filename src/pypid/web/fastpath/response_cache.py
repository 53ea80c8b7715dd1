"""The cache of the fast path: clients by their header blocks, and for each kind of client the
responses by request line.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b
from weakref import WeakValueDictionary

from attrs import define, field

from pypid.core.model import File
from pypid.core.permissions import Identity
from pypid.index.store.validity import Validity
from pypid.web.fastpath.os.socket_write import MemoryFile, pages_of
from pypid.web.http.access_log import LogClient, SharedLogFields
from pypid.web.http.open_file import OpenFile
from pypid.web.http.request import SentHead

SMALL = 1 << 15
"""Maximum bytes of a body that is copied behind its head; a larger one stays separate."""
COST = 1500
"""Approximate overhead of an entry in bytes."""
FOR_EVER = float("inf")


@define(eq=False)
class SentResponse:
    """A response as it was written: all but its date."""

    before: bytes = field(repr=False)
    after: bytes = field(repr=False)
    body: bytes = field(repr=False)
    """What follows `after`, if it is too long to be copied each second."""
    log_fields: SharedLogFields
    sends_file: bool
    """Whether the response counts as a download of the file that it is about."""
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

    def copy_to_memory_file(self) -> MemoryFile | None:
        """Return the body as a memory file, made at the first call; None if that is impossible."""
        if self.pages is None:
            self.pages = pages_of(self.body)
        return self.pages


def split_at_date(
    head: SentHead,
    body: bytes,
    log_fields: SharedLogFields,
    *,
    sends_file: bool,
    file: OpenFile | None = None,
) -> SentResponse | None:
    """Return the response as it was sent; None if it does not have exactly one date."""
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
    return SentResponse(first, rest, body, log_fields, sends_file, file)


class SharedResponses(dict[bytes, "CachedResponse"]):
    """The responses for all clients of one kind, by request line."""

    __slots__ = ("__weakref__",)


@define(eq=False)
class LruEntry:
    """A cache entry that is dropped when it is the least recently used."""

    weight: int
    used: float

    def grow(self, weight: int) -> None:
        """Increase the weight of the entry."""
        self.weight += weight


@define(eq=False)
class CachedResponse(LruEntry):
    """The response to one request line, for one kind of client."""

    line: bytes = field(repr=False)
    responses: SharedResponses = field(repr=False)
    """The responses that it is one of."""
    rights: int
    """The version of the rules it was made by."""
    changes: int
    validity: Validity | None
    """The validity of its project's view; None: it depends on all projects, as they were after so
    many `changes`.
    """
    until: float
    """When it expires, on the reactor's clock."""
    etag: bytes | None
    file: File | None
    version: int
    """The state (`FastPathState.version`) in which it was last found to hold."""
    asks_upstream: bool
    full: SentResponse | None = None
    """The full response."""
    not_modified: SentResponse | None = None
    """The 304 response."""
    _noted: tuple[bytes, str | None, KnownClient] | None = field(
        default=None, init=False, repr=False
    )
    """The date and the client of the last recorded download."""

    @property
    def size(self) -> int:
        """The approximate size of its responses in bytes."""
        return sum(
            len(each.before) + 2 * len(each.after) + 2 * len(each.body)
            for each in (self.full, self.not_modified)
            if each is not None
        )

    def keep(self, sent: SentResponse, *, modified: bool, until: float) -> None:
        """Keep a response that was sent just now, in place of the earlier one of its kind."""
        self.until = until
        if modified:
            self.full = sent
        else:
            self.not_modified = sent

    def confirm(self, version: int) -> None:
        """Record that the response holds in this state."""
        self.version = version

    def limit_to(self, until: float) -> None:
        """Have the response expire at this time, unless it does earlier."""
        self.until = min(self.until, until)

    def note_download(self, date: bytes, address: str | None, client: KnownClient) -> bool:
        """Return whether to record this download: not if it is the last recorded one."""
        noted = (date, address, client)
        if self.file is None or self._noted == noted:
            return False
        self._noted = noted
        return True

    def drop(self) -> None:
        """Remove it from its responses."""
        if self.responses.get(self.line) is self:
            del self.responses[self.line]


@define(eq=False)
class KnownClient(LruEntry):
    """A client that sends this header block."""

    key: bytes = field(repr=False)
    """The header block, or a keyed hash of it."""
    table: dict[bytes, KnownClient] = field(repr=False)
    """The clients that it is one of, by their keys."""
    responses: SharedResponses = field(repr=False)
    log_client: LogClient
    address: str | None
    """The client's address, if the block states it; "" if it is that of the connection."""
    identity: Identity
    token: str | None
    proven: bool
    """Whether the identity comes from credentials: then it is valid only for a `generation`, and
    `until` a time on the reactor's clock.
    """
    generation: int
    until: float
    _noted: tuple[bytes, str | None] | None = field(default=None, init=False, repr=False)
    """The date and the address of the last recorded use of the token."""

    def note_use(self, date: bytes, address: str | None) -> bool:
        """Return whether to record this use of its token: not if it is the last recorded one."""
        noted = (date, address)
        if self._noted == noted:
            return False
        self._noted = noted
        return True

    def drop(self) -> None:
        """Remove this client from the cache."""
        if self.table.get(self.key) is self:
            del self.table[self.key]


@define(eq=False)
class KnownClients:
    """The clients on one kind of connections, by their header blocks."""

    kind: tuple[bool, bool, bool]
    """Whether the connections have TLS, come from a trusted proxy, and must name a known host."""
    hash_key: bytes = field(repr=False)
    public: dict[bytes, KnownClient] = field(factory=dict, init=False, repr=False)
    """By header blocks that contain no secret."""
    secret: dict[bytes, KnownClient] = field(factory=dict, init=False, repr=False)
    """By keyed hashes of header blocks."""

    def hashed(self, block: bytes) -> bytes:
        """Return the keyed hash of a header block."""
        return blake2b(block, key=self.hash_key, digest_size=16).digest()

    def find(self, block: bytes) -> KnownClient | None:
        """Return the client that sends this header block."""
        client = self.public.get(block)
        if client is None and self.secret:
            client = self.secret.get(self.hashed(block))
        return client


@define(eq=False)
class ResponseCache:
    """All entries, at most `limit` bytes; the least recently used is dropped first, to the
    second.
    """

    limit: int
    responses: WeakValueDictionary[object, SharedResponses] = field(
        factory=WeakValueDictionary, init=False, repr=False
    )
    weight: int = field(default=0, init=False)
    _entries: set[CachedResponse | KnownClient] = field(factory=set, init=False, repr=False)

    def __len__(self) -> int:
        return len(self._entries)

    def responses_for(self, kind: object) -> SharedResponses:
        """Return the responses for clients of this kind."""
        return self.responses.setdefault(kind, SharedResponses())

    def add(self, entry: CachedResponse | KnownClient) -> None:
        """Add an entry; others may be dropped."""
        self._entries.add(entry)
        self.weight += entry.weight
        if self.weight > self.limit:
            self._make_room()

    def grow(self, entry: CachedResponse, weight: int) -> None:
        """Increase the weight of an entry; others may be dropped."""
        entry.grow(weight)
        if entry in self._entries:
            self.weight += weight
            if self.weight > self.limit:
                self._make_room()

    def drop(self, entry: CachedResponse | KnownClient) -> None:
        """Drop an entry."""
        if entry in self._entries:
            self._entries.discard(entry)
            self.weight -= entry.weight
        entry.drop()

    def clear(self) -> None:
        """Drop all entries."""
        for entry in tuple(self._entries):
            self.drop(entry)

    def _make_room(self) -> None:
        """Drop the least recently used tenth at once: searching for the oldest entry each time
        would take long.
        """
        for entry in sorted(self._entries, key=lambda entry: entry.used):
            if self.weight <= self.limit * 0.9:
                break
            self.drop(entry)


def seconds_until(end: datetime | None, now: datetime, seconds: Callable[[], float]) -> float:
    """Convert a time of day to the reactor's clock, rounded down to be safe; `FOR_EVER` for
    None.
    """
    return FOR_EVER if end is None else seconds() + (end - now).total_seconds() - 1e-4
