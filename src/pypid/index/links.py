"""Signed URLs of files, given again and again while they are good: so that pip's, uv's and proxies' caches know them.

A URL that is new with each request would be another file to every cache between the store and the client.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from attrs import define, field

from pypid.core.model import File, Link
from pypid.flow import Flights
from pypid.ports import Blobs

MOST = 50_000
"""URLs that are remembered, some 30 MB; the longest unused go first."""


@define(eq=False)
class Links:
    """The signed URLs of one storage.

    `lifetime` is how long a URL is asked to be good (`[storage] expire_after`); it is forgotten `buffer` before its end
    (`buffer_time`), so that a client has at least that long to use it.
    """

    blobs: Blobs
    now: Callable[[], datetime]
    lifetime: timedelta
    buffer: timedelta
    most: int = MOST
    changes: int = field(default=0, init=False)
    """Grows whenever another URL is remembered: what was written down before is then old."""
    _held: OrderedDict[str, Link] = field(factory=OrderedDict, init=False, repr=False)
    _flights: Flights[str, Link | None] = field(factory=Flights, init=False, repr=False)

    async def link(self, file: File) -> Link | None:
        """A URL that gives the bytes of the file to whoever has it; None where the store has no such thing.

        Raises `StorageDown` where none can be signed (no credentials).
        """
        assert file.key is not None  # only what is stored is linked
        held = self._held.get(file.key)
        if held is not None and self._is_good(held):
            self._held.move_to_end(file.key)
            return held
        key = file.key
        return await self._flights.single(key, lambda: self._signed(key, file.filename))

    async def _signed(self, key: str, filename: str) -> Link | None:
        link = await self.blobs.link(key, self.lifetime, filename)
        if link is not None and self._is_good(link):
            self._keep(key, link)
        return link

    def _is_good(self, link: Link) -> bool:
        return self.now() < link.expires - self.buffer

    def _keep(self, key: str, link: Link) -> None:
        self._held[key] = link
        self._held.move_to_end(key)
        self.changes += 1
        if len(self._held) > self.most:
            self._held.popitem(last=False)

    # --- for the snapshot ---

    def good(self) -> list[tuple[str, Link]]:
        """The URLs by key that can still be given, the longest unused first."""
        return [(key, link) for key, link in self._held.items() if self._is_good(link)]

    def remember(self, links: Iterable[tuple[str, Link]]) -> None:
        """What was `good` before a restart."""
        for key, link in links:
            if self._is_good(link) and key not in self._held:
                self._keep(key, link)
