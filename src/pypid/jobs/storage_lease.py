"""The lease of a bucket: of several pypids that do not share a catalog, only one writes to it.

Each pypid has its own catalog of the bucket. Two that write to one bucket would answer from
catalogs that miss each other's changes, and put other bytes where a record of the other one points.
So a pypid takes the lease before its first write, renews it while it runs and gives it back when it
stops. Nodes that share a catalog hold the lease together.

The lease is one object below `layout.LEASES`, named by a number. It is taken by writing the next
number if absent, which the store decides (a store that cannot is asked again after `SETTLE`). Only
its holder writes that object again. The clocks of two machines are never compared: a lease has
expired when a waiting process has seen it unchanged for `EXPIRY` seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, suppress
from datetime import datetime

import msgspec
from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pypid.core.errors import CatalogDown, Exists, PypidError, StorageInUse, Unreadable
from pypid.core.model import Blob
from pypid.core.records.documents import FORMAT, dump
from pypid.core.records.layout import LEASES, is_cached
from pypid.flow import BytesBody, World, start
from pypid.flow.derived import Flights
from pypid.index.context import NOTHING_CHANGED
from pypid.index.store import records
from pypid.ports import Blobs

_log = Logger()

RENEWAL = 20.0
"""Seconds between two renewals."""
EXPIRY = 60.0
"""Seconds without a renewal after which another pypid takes the lease."""
TRUST = 50.0
"""Seconds after its last renewal for which the holder itself counts on the lease: less than
`EXPIRY`, for slow requests.
"""
POLL = 2.0
"""Seconds between two checks of a lease that another pypid holds."""
PATIENCE = 20.0
"""Seconds that a write waits for the lease: in a rolling update the old instance gives it back
within that time.
"""
SETTLE = 3.0
"""Seconds after which a store without exact conditional writes is asked who took the lease."""


class LeaseDocument(msgspec.Struct, frozen=True):
    """The holder of the lease: a state folder or a shared catalog (`holder`), and one process of
    it. `name` is for logs.
    """

    holder: str
    process: str
    name: str
    since: datetime
    renewed: datetime
    format: int = FORMAT


@frozen
class _Seen:
    """The lease object as a listing showed it first at `at` (seconds of the clock)."""

    blob: Blob
    at: float

    @property
    def number(self) -> int:
        return int(self.blob.key.removeprefix(LEASES))


@define(eq=False)
class StorageLease:
    """The lease as one process sees it.

    `holder` returns the identity that it is held by: that of the state folder, which one process at
    a time has, or that of the shared catalog (`is_shared`), None while that is not known.
    `is_exact` returns whether the store decides between writers.
    """

    blobs: Blobs
    world: World
    holder: Callable[[], str | None]
    name: str
    is_shared: bool = False
    is_exact: Callable[[], bool] = field(default=lambda: True, repr=False)
    process: str = field(init=False)
    _holders: set[str] = field(factory=set, init=False)
    """Every identity that this process has had: a reset shared catalog gets another one."""
    _since: datetime = field(init=False)
    _number: int | None = field(default=None, init=False)
    _renewed: float = field(default=float("-inf"), init=False)
    _seen: _Seen | None = field(default=None, init=False)
    _other: str | None = field(default=None, init=False)
    """The name of the pypid that holds the lease instead."""
    _next: IDelayedCall | None = field(default=None, init=False)
    _ended: bool = field(default=False, init=False)
    _looks: Flights[None, None] = field(factory=Flights, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.process = self.world.random(8).hex()
        self._since = self.world.now()

    @property
    def is_held(self) -> bool:
        """Whether this process may write now."""
        return self._number is not None and self.world.clock.seconds() - self._renewed < TRUST

    @property
    def is_sole(self) -> bool:
        """Whether no other process may write now."""
        return self.is_held and not self.is_shared

    async def look(self) -> None:
        """Take the lease if it is free, and keep it until `end`; else take it once it is. Raises
        `StorageDown`.
        """
        await self._looks.single(None, self._look)
        self.begin()

    def begin(self) -> None:
        """Take the lease, as soon as that is possible, and keep it until `end`."""
        if self._next is None and not self._ended:
            self._schedule(POLL)

    async def permit_write(self, key: str) -> None:
        """Wait until this process may write the key, as `permit`. Cached upstream files need no
        lease: they can be downloaded again.
        """
        if not is_cached(key):
            await self.permit()

    async def permit(self) -> None:
        """Wait until this process may write. Raises `StorageInUse` after `PATIENCE` seconds,
        `CatalogDown` while the holder is unknown, and `StorageDown`.
        """
        deadline = self.world.clock.seconds() + PATIENCE
        while not self.is_held:
            self.begin()
            await self._looks.single(None, self._look)
            if self.is_held:
                return
            if self.holder() is None:
                raise CatalogDown(NOTHING_CHANGED)
            if self._ended or self.world.clock.seconds() >= deadline:
                raise StorageInUse(self._other or "another pypid")
            waited: Deferred[None] = deferLater(self.world.clock, POLL)
            await waited

    async def end(self) -> None:
        """Give the lease back. A lease that nodes share expires by itself: others of them may go
        on.
        """
        self._ended = True
        if self._next is not None and self._next.active():
            self._next.cancel()
        number, self._number = self._number, None
        if number is None or self.is_shared:
            return
        try:
            await self._looks.single(None, _nothing)  # a renewal under way would write it again
            await self.blobs.delete(_key(number))
        except PypidError as error:
            _log.warn(
                "The lease of the storage was not released, and expires: {error}", error=error
            )

    # --- looking ---

    def _schedule(self, delay: float) -> None:
        self._next = self.world.clock.callLater(delay, lambda: start(self._round()))

    async def _round(self) -> None:
        try:
            await self._looks.single(None, self._look)
        except PypidError as error:
            _log.debug("the lease of the storage cannot be read: {error}", error=error)
        except Exception:
            _log.failure("reading the lease of the storage failed")
        if not self._ended:
            self._schedule(RENEWAL if self.is_held else POLL)

    async def _look(self) -> None:
        """Take or renew the lease if that is possible. Raises `StorageDown`."""
        began, holder = self.world.clock.seconds(), self.holder()
        if holder is None or self._ended:
            return
        self._holders.add(holder)
        seen = await self._latest(began)
        if self._number is not None and (seen is None or seen.number != self._number):
            self._lose()
        if seen is None:
            await self._take(holder, 1, began)
        elif self._number is not None:
            await self._renew(holder, seen, began)
        else:
            await self._look_at_other(holder, seen, began)

    async def _latest(self, began: float) -> _Seen | None:
        """Return the lease object with the highest number; older ones were left by a crash."""
        async with aclosing(self.blobs.list(LEASES)) as listing:
            found = [blob async for blob in listing if blob.key.removeprefix(LEASES).isdigit()]
        if not found:
            self._seen = None
            return None
        latest = max(found, key=lambda blob: int(blob.key.removeprefix(LEASES)))
        if self._seen is None or self._seen.blob != latest:
            self._seen = _Seen(latest, began)
        return self._seen

    async def _look_at_other(self, holder: str, seen: _Seen, began: float) -> None:
        """Take a lease of another process if its holder is an earlier process of this pypid, or it
        has expired.
        """
        document = await self._read(seen.number)
        if document is not None and document.holder in self._holders:
            if self.is_shared:
                self._number = seen.number
                await self._renew(holder, seen, began)
            else:  # before a crash: the state folder belongs to this process now
                await self._take(holder, seen.number + 1, began)
        elif self.world.clock.seconds() - seen.at >= EXPIRY:
            await self._take(holder, seen.number + 1, began)
        elif document is not None and document.name != self._other:
            self._other = document.name
            _log.warn(
                "Another pypid ({holder}, since {since:%Y-%m-%d %H:%M} UTC) holds the lease of "
                "this storage. This one serves what is there and publishes nothing until that "
                "one stops, or has not renewed its lease for {expiry:.0f} s. Stop that one, or "
                "let both share a database ([database] url).",
                holder=document.name,
                since=document.since,
                expiry=EXPIRY,
            )

    async def _read(self, number: int) -> LeaseDocument | None:
        with suppress(Unreadable):
            return await records.read_document(self.blobs, LeaseDocument, _key(number))
        return None

    # --- writing ---

    async def _take(self, holder: str, number: int, began: float) -> None:
        try:
            await self.blobs.write(_key(number), BytesBody(self._document(holder)))
        except Exists:  # another process was first
            return
        if not self.is_exact():
            settled: Deferred[None] = deferLater(self.world.clock, SETTLE)
            await settled
            document = await self._read(number)
            if document is None or document.process != self.process:
                return
        self._number, self._renewed = number, began
        if self._other is not None:
            _log.info("the lease of the storage was acquired after {holder}", holder=self._other)
            self._other = None
        if number > 1:
            await self.blobs.delete(_key(number - 1))

    async def _renew(self, holder: str, seen: _Seen, began: float) -> None:
        await self.blobs.write(_key(seen.number), BytesBody(self._document(holder)), replace=True)
        self._renewed = began

    def _lose(self) -> None:
        _log.warn("The lease of the storage was lost: another pypid took it, or it was deleted.")
        self._number, self._renewed = None, float("-inf")

    def _document(self, holder: str) -> bytes:
        return dump(LeaseDocument(holder, self.process, self.name, self._since, self.world.now()))


def _key(number: int) -> str:
    return f"{LEASES}{number:08}"


async def _nothing() -> None:
    """Do nothing, to wait for the look under way."""
