"""Signed URLs of files, reused while they are valid, so that the caches of pip, uv and proxies
recognize them; their snapshot, a file in the state folder, so that clients get the same ones after
a restart; and a Redis in which nodes share them.

A new URL for each request would be another file to every cache between the store and the client.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import msgspec
from attrs import define, evolve, field
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import Logger

from pypid.core.errors import CatalogDown, Unreadable
from pypid.core.model import SignedUrl, StoredFile
from pypid.core.records.documents import FORMAT, dump, load
from pypid.core.times import AHEAD
from pypid.flow import World, start
from pypid.flow.derived import Flights
from pypid.ports import Blobs, SharedLinks

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
    identity: str = ""
    """What a shared URL depends on, beside the file and its signer: bucket, lifetime and host."""
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
        text = "\0".join((self.identity, key, filename, signer))
        name = blake2b(text.encode(), digest_size=32).hexdigest()
        good_after = self.world.now() + self.buffer
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


# --- in a Redis ---

PATIENCE = 1.0
"""Seconds that a client waits for a server that does not answer: then it gets a URL of this node's
own.
"""
PREFIX = "pypid:url:"
_KEEP = """
local held = redis.call('GET', KEYS[1])
if held and tonumber(string.match(held, '^%d+')) > tonumber(ARGV[1]) then
    return held
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return ARGV[2]
"""
"""Keeps a URL under a key, as `SharedLinks.keep_link` says, in one step."""
_BEGINNING, _TICK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


@define(eq=False)
class RedisLinks:
    """A `SharedLinks` in the Redis at `url` (`[signed_urls] url`); `reactor` connects to it.

    It holds ``MICROSECONDS URL``, where the first is the end of the URL, until then at most. After
    a failure it is not asked for `AGAIN`.
    """

    url: str = field(repr=False)
    world: World
    reactor: Any = field(repr=False)
    _connection: Any = field(default=None, init=False, repr=False)
    """txredisapi's protocol, logged in; None before the first question and after a failure."""
    _connecting: Flights[str, None] = field(factory=Flights, init=False, repr=False)
    _is_away: bool = field(default=False, init=False)
    _again: float = field(default=float("-inf"), init=False)
    """When the server is asked again, on the clock."""

    async def link(self, key: str, good_after: datetime) -> SignedUrl | None:
        link = await self._ask("GET", PREFIX + key)
        return link if link is not None and link.expires > good_after else None

    async def keep_link(self, key: str, link: SignedUrl, good_after: datetime) -> SignedUrl:
        text = f"{(link.expires - _BEGINNING) // _TICK} {link.url}"
        after = (good_after - _BEGINNING) // _TICK
        milliseconds = max(1, (link.expires - good_after) // timedelta(milliseconds=1))
        kept = await self._ask("EVAL", _KEEP, 1, PREFIX + key, after, text, milliseconds)
        return kept or link

    async def _ask(self, *words: str | int) -> SignedUrl | None:
        """Return the URL in the server's answer. Raises `CatalogDown`, at once for `AGAIN` after a
        failure; the first failure is logged, without what was sent or answered.
        """
        if self.world.clock.seconds() < self._again:
            raise CatalogDown
        try:
            link = await start(self._answer(words)).addTimeout(PATIENCE, self.world.clock)
        except Exception as error:
            self._again = self.world.clock.seconds() + AGAIN.total_seconds()
            if self._connection is not None:
                self._connection.transport.abortConnection()
                self._connection = None
            if not self._is_away:
                _log.warn(
                    "The Redis of [signed_urls] url cannot be used ({reason}). This process signs "
                    "URLs of its own until it can.",
                    reason=_reason(error),
                )
            self._is_away = True
            raise CatalogDown from None
        if self._is_away:
            _log.info("The Redis of [signed_urls] url can be used again.")
        self._is_away = False
        return link

    async def _answer(self, words: tuple[str | int, ...]) -> SignedUrl | None:
        if self._connection is None or not self._connection.connected:
            await self._connecting.single("", self._connect)
        held = await self._connection.execute_command(*words)
        return None if held is None else _parsed(held)

    async def _connect(self) -> None:
        """Open a connection and log in."""
        from txredisapi import RedisProtocol

        url = urlsplit(self.url)
        host = url.hostname or ""
        endpoint: Any = HostnameEndpoint(self.reactor, host, url.port or 6379, timeout=PATIENCE)
        if url.scheme == "rediss":
            endpoint = wrapClientTLS(optionsForClientTLS(host), endpoint)
        protocol = partial(RedisProtocol, charset=None, convertNumbers=False)
        connection: Any = await endpoint.connect(Factory.forProtocol(protocol))
        first = []
        if url.password:
            user = [unquote(url.username)] if url.username else []
            first.append(("AUTH", *user, unquote(url.password)))
        if number := url.path.strip("/"):
            first.append(("SELECT", number))
        try:
            for words in first:
                answering = connection.execute_command(*words)
                await answering.addTimeout(PATIENCE, self.world.clock)
        except BaseException:
            connection.transport.abortConnection()
            raise
        self._connection = connection


_redis_links: type[SharedLinks] = RedisLinks


def _parsed(held: bytes) -> SignedUrl:
    ends, _, url = held.decode().partition(" ")
    return SignedUrl(url, _BEGINNING + int(ends) * _TICK)


def _reason(error: Exception) -> str:
    """Return what failed, for the log: the code of a refusal (``WRONGPASS``), else the kind of
    error. Both repeat nothing that was sent.
    """
    code, kind = str(error).partition(" ")[0], type(error).__name__
    return code if kind == "ResponseError" and code.isalpha() and code.isupper() else kind


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
