"""Responses in memory: the cache, what they depend on, and files that are kept open.

The cache of the fast path: clients by their header blocks, and for each kind of client the
responses by request line.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime
from hashlib import blake2b
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString

from pypid.core.accounts.rights import DownloadEntry
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Identity
from pypid.flow import Blocking, FileBody, start
from pypid.flow.bodies import PIECE
from pypid.index.stored_view import Validity, is_valid
from pypid.index.views import DIRECT, UpstreamPermission
from pypid.web.fastpath.os.socket_write import (
    LARGE,
    MemoryFile,
    memory_file,
    send_direct,
    send_with_file,
)
from pypid.web.http.access_log import AccessLog, LogClient, SharedLogFields, entry_of
from pypid.web.http.channel import Channel
from pypid.web.http.request import UNIX, SentHead
from pypid.web.http.response_body import WINDOW, OpenFile, proceed, stream_body
from pypid.web.http.responses import pieces_of
from pypid.web.http.site import count_long, count_short

if TYPE_CHECKING:
    from pypid.web.app.app import App

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

    def file_for(self, channel: Channel) -> OpenFile | None:
        """Return the file to send after `head`: of a long body a memory file, made at the first
        call; None if there is none, or the kernel cannot send files on this connection.
        """
        if self.file is None and channel.direct and len(self.body) >= LARGE:
            if self.pages is None:
                self.pages = memory_file(self.body)
            return self.pages
        return self.file


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


# What routes declare about a response, so that the fast path may cache it.


@frozen
class ResponseDependencies:
    """The dependencies of a response, other than its request, its client, and the rules.

    The view of a `project`, or the lists of all, as far as the `permission` allows. `file` is the
    file that the response sends, for the download log; the response expires at `until`.
    """

    project: ProjectName | None
    permission: UpstreamPermission
    file: File | None = None
    until: datetime | None = None


OF_LISTS = ResponseDependencies(None, DIRECT)
"""A response that any change of any project may change."""


# Responses with files that are too large for memory: their heads are cached, and the files stay
# open; the kernel sends them.

OPEN_FOR = 10.0
"""Seconds that a file stays open: it takes disk space for so long after it was deleted."""
MOST_OPEN = 64

_log = Logger()


def send_file(
    channel: Channel,
    head: bytes,
    file: OpenFile,
    blocking: Blocking,
    on_sent: Callable[[int], None],
) -> bool:
    """Send the head and then the file; return whether all went out at once. Else `on_sent` is
    called once, with the bytes of the file that were sent.

    What the kernel takes at once goes at once; for the rest the channel is busy, as with any
    request.
    """
    sent = send_with_file(channel.transport, head, file.descriptor, min(WINDOW, file.size))
    if sent == file.size:
        return True
    RestSending(channel, on_sent, sent).begin(file.body(sent, blocking), file.size)
    return False


def send_body(channel: Channel, sent: SentResponse, on_sent: Callable[[int], None]) -> bool:
    """Send head and body, like `send_file`. What is not sent at once stays in the cache, shared by
    all clients.
    """
    transport: Any = channel.transport
    body, position = sent.body, 0
    at_once: Callable[[Any, bytes, bytes, int], int] | None = getattr(
        type(transport), "send_both", None
    )
    if channel.direct:
        position = send_direct(transport, sent.head, body)
    elif at_once is not None:
        position = at_once(transport, sent.head, body, PIECE)
    else:
        transport.write(sent.head)
    if position == len(body) and (channel.direct or not channel.is_blocked):
        return True
    RestSending(channel, on_sent, position).begin(pieces_of(body, position), len(body))
    return False


@define(eq=False)
class OpenFiles:
    """The cached responses that have a file open: at most `MOST_OPEN`, each for `OPEN_FOR` seconds;
    then `drop` is called.
    """

    clock: IReactorTime
    drop: Callable[[CachedResponse], None]
    _until: dict[CachedResponse, float] = field(factory=dict, init=False, repr=False)
    _closing: IDelayedCall | None = field(default=None, init=False)

    @property
    def full(self) -> bool:
        """Whether the maximum number of files is open."""
        return len(self._until) >= MOST_OPEN

    def add(self, response: CachedResponse) -> None:
        """Add a response, or extend the time of one with another file."""
        until = self.clock.seconds() + OPEN_FOR
        self._until.pop(response, None)
        self._until[response] = until
        response.limit_to(until)
        if self._closing is None:
            self._closing = self.clock.callLater(OPEN_FOR, self._close_old)

    def _close_old(self) -> None:
        self._closing, now = None, self.clock.seconds()
        while self._until:
            response, until = next(iter(self._until.items()))  # the oldest
            if until > now:
                self._closing = self.clock.callLater(until - now, self._close_old)
                return
            self._close(response)

    def close(self) -> None:
        """Close all files."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        while self._until:
            self._close(next(iter(self._until)))

    def _close(self, response: CachedResponse) -> None:
        del self._until[response]
        self.drop(response)


@define(eq=False)
class RestSending:
    """The rest of a response that is being sent; to the channel, and to `web.http.response_body`,
    it is a request whose response has begun.
    """

    channel: Channel | None
    _on_sent: Callable[[int], None] = field(repr=False)
    sentLength: int  # named as in twisted.web's requests
    _has_reported: bool = field(default=False, init=False)
    recorder: None = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False, repr=False)

    def begin(self, rest: FileBody | AsyncGenerator[bytes], size: int) -> None:
        """Send the rest of a body of `size` bytes, at the client's pace."""
        assert self.channel is not None
        self.channel.occupy(self)
        start(self._send(rest, size)).addErrback(self._failed)

    async def _send(self, rest: FileBody | AsyncGenerator[bytes], size: int) -> None:
        channel, request = self.channel, cast("Any", self)
        assert channel is not None
        async with aclosing(rest):
            if isinstance(rest, FileBody):
                await proceed(request, rest, channel.transport)
            else:
                await stream_body(request, b"", rest, size - self.sentLength)
        self._report()
        self.channel = None
        channel.requestDone(request)

    def _report(self) -> None:
        """Report the bytes sent, once: the connection may still be lost after that, while the
        channel waits for its buffer.
        """
        if not self._has_reported:
            self._has_reported = True
            self._on_sent(self.sentLength)

    def _failed(self, failure: Failure) -> None:
        """Log the failure, unless it is a cancellation. The connection is closed, or about to be,
        so what was sent cannot be taken for the whole.
        """
        if not isinstance(failure.value, CancelledError):
            _log.failure("sending a response failed", failure=failure)

    # --- interface of a request ---

    def write(self, data: bytes) -> None:
        """Write data that the kernel cannot send by itself."""
        if self.channel is not None:
            self.sentLength += len(data)
            self.channel.write(data)

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Register the producer that the channel pauses and resumes."""
        if self.channel is not None:
            self.channel.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Unregister the producer."""
        if self.channel is not None:
            self.channel.unregisterProducer()

    def notifyFinish(self) -> Deferred[None]:
        """Return a Deferred that fails when the connection is lost."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def connectionLost(self, reason: Failure) -> None:
        """Report the bytes sent and fail the waiting Deferreds. Called by the channel."""
        self.channel = None
        self._report()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.errback(reason)


# The state of the fast path: its cache, whether entries still hold, and the accounting of each
# response.

LIMIT = 64 << 20
"""Maximum size of the cache in bytes."""
LINES = 2000
"""Maximum number of access log lines that wait."""
STEP = 1.0
"""Change in seconds of the difference between the wall clock and the reactor's clock that means
that the wall clock was set.
"""
LATER = 0.1
"""Maximum seconds that lines of the access log wait."""

_LOG_FIELDS = itemgetter(3)


class FastPathState:
    """The state of the fast path of one app. `access_log` as the site's; None: nothing is logged.

    `close` it, or let the site `drain`, so that the last
    lines are written.
    """

    now = next_second = 0.0
    """The time of the last `refresh` and the next full second, on the reactor's clock."""
    date, log_time = b"", ""
    """The current date, for responses and for lines of the access log."""
    quiet = False
    """Whether only short responses were sent since `refresh`: for callers that send several in one
    go.
    """
    version = 0
    """Increases with each change that a response may depend on, except time and outages."""
    rights = 0
    """Increases with each change of the rules or restrictions: no response is valid after it."""
    changes = -1
    due = False
    """Whether lines wait to be written."""
    _writing: IDelayedCall | None = None

    def __init__(
        self,
        app: App,
        access_log: AccessLog | None = None,
        *,
        limit: int = LIMIT,
    ) -> None:
        self.app = app
        self.catalog = app.index.catalog
        self.store = ResponseCache(limit)
        self.files = OpenFiles(app.world.clock, self.store.drop)
        self.log: list[Any] = []
        """Entries that wait to be written and counted: each a time, an address, a `LogClient` and
        `SharedLogFields`; or the last alone, if no log is written.
        """
        self.writes = access_log is not None
        self._counts = app.world.counts
        self._counts.before.append(self.flush)
        self.seconds = app.world.clock.seconds
        self.key = app.world.random(32)
        self.claims = app.index.context.policy.claims
        self.restrictions = app.index.context.policy.restrictions
        self.circuit_breaker = app.index.gate.breaker
        self.generation = app.auth_generation
        self._ahead = self._ahead_of(self.seconds())
        self.rules = app.rules
        self.claimed = self.claims.names
        self.restricted = self.restrictions.current
        self._access_log = access_log
        app.indexes.changed.connect(self.notice_indexes)

    # --- current state ---

    def check(self) -> int:
        """Check for changes; return the `version`."""
        changes, rules, claimed = self.catalog.changes, self.app.rules, self.claims.names
        if (
            changes != self.changes
            or rules is not self.rules
            or claimed is not self.claimed
            or self.restrictions.current is not self.restricted
        ):
            self.notice()
        return self.version

    def refresh(self) -> None:
        """Update `now` and check for changes: before each response, unless it is still `quiet` and
        no other code ran either.
        """
        now = self.now = self.seconds()
        if now >= self.next_second:
            self.tick(now)
        self.check()
        self.quiet = True

    def interrupt(self) -> None:
        """End the quiet time: other code may run before the next response."""
        self.quiet = False

    def notice(self) -> None:
        """Register a change of the catalog, the rules, the claimed names or the restrictions."""
        self.changes = self.catalog.changes
        restricted = self.restrictions.current
        if (
            self.app.rules is not self.rules
            or self.claims.names != self.claimed
            or restricted is not self.restricted
        ):
            self.rules = self.app.rules
            self.rights += 1
        self.claimed = self.claims.names
        self.restricted = restricted
        self.version += 1

    def notice_indexes(self) -> None:
        """Invalidate responses after a change of the settings of named indexes."""
        self.rights += 1
        self.version += 1

    def still_holds(self, response: CachedResponse) -> bool:
        """Return whether the response would be the same now, although something has changed."""
        if response.rights != self.rights:
            return False
        if response.validity is None:
            if response.changes != self.changes:
                return False
        elif not is_valid(self.catalog, response.validity):
            return False
        response.confirm(self.version)
        return True

    def tick(self, now: float) -> None:
        """Begin another second: update the date of responses and log lines."""
        self.next_second = now // 1 + 1
        ahead = self._ahead_of(now)
        if (
            abs(ahead - self._ahead) > STEP
        ):  # sessions and cooldowns end at a time of day, which is another second now
            self.store.clear()
        self._ahead = ahead
        self.date = datetimeToString()  # type: ignore[no-untyped-call]
        self.log_time = "" if self._access_log is None else self._access_log.time()

    def _ahead_of(self, now: float) -> float:
        """Return the wall clock's lead over the reactor's clock, in seconds."""
        return self.app.world.now().timestamp() - now

    # --- accounting ---

    def flush(self) -> None:
        """Write the lines that wait, and count them."""
        if self.log:
            lines, self.log = self.log, []
            count_short(self._counts, map(_LOG_FIELDS, lines) if self.writes else lines)
            if self._access_log is not None:
                self._access_log.many(lines)

    def begin_lines(self, log: list[Any]) -> None:
        """Schedule the writing of lines, many at once."""
        if len(log) >= LINES:
            self.flush()
        if not self.due:
            self.due = True
            self._writing = self.app.world.clock.callLater(LATER, self._flush_due)

    def _flush_due(self) -> None:
        self.due = False
        self.flush()

    def note_line(
        self,
        begun: float,
        address: str | None,
        log_client: LogClient,
        log_fields: SharedLogFields,
        size: int,
    ) -> None:
        """Log and count a long response that has gone out, or `size` bytes of it. Its line does not
        wait: pypid may be about to stop.
        """
        seconds = self.seconds() - begun
        count_long(self._counts, log_fields, size, seconds)
        if self._access_log is not None:
            self.flush()  # keeps the lines in the order of the responses
            took = round(seconds * 1000, 1)
            log = self._access_log
            log.write(
                entry_of(log.time(), address, log_client, log_fields, size, took, log.ids.next())
            )

    def close(self) -> None:
        """Write the lines that wait, and close the files."""
        if self.due and self._writing is not None:
            self._writing.cancel()
            self.due = False
        self.flush()
        self.files.close()

    def record_use(self, token: str, address: str | None) -> None:
        """Record the use of a token."""
        self.quiet = False
        if self.app.registry is not None:
            self.app.accounts.token_used(token, address or UNIX)

    def record_download(
        self, response: CachedResponse, client: KnownClient, address: str | None
    ) -> None:
        """Record the download of the response's file."""
        self.quiet = False
        file = response.file
        assert file is not None
        if self.app.registry is not None and file.sha256 is not None:
            self.app.downloads.note(
                DownloadEntry.of(file, client.identity, address, self.app.world.now())
            )
        if file.source is not None:
            self.app.index.file_cache.touched(file)
