"""Blobs in memory: for tests, for trying pypid out, and for the static export of small things. Lost
with the process.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime, timedelta

from pypid.blobs.keys import must_be_key, pieces
from pypid.core.errors import Exists, Missing, StorageFull
from pypid.core.model import Blob, SignedUrl, Span
from pypid.flow import BytesBody
from pypid.ports import Body


class MemoryBlobs:
    """A `Blobs` in a dict. `capacity`: maximum number of bytes in total; more is `StorageFull`.
    None: unlimited.
    """

    def __init__(self, now: Callable[[], datetime], capacity: int | None = None) -> None:
        self._now = now
        self._capacity = capacity
        self._held: dict[str, tuple[Blob, bytes]] = {}
        self._keys: list[tuple[bytes, str]] = []
        """In the order of their UTF-8 bytes."""
        self._size = 0
        self._writes = 0

    async def read(self, key: str, span: Span | None = None) -> Body:
        _, data = self._find(key)
        if span is None:
            return BytesBody(data)
        if not 0 <= span.start <= span.stop:
            raise ValueError(f"{span} is not a span")
        if span.stop > len(data):
            raise Missing(key)
        return BytesBody(data[span.start : span.stop])

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        async with aclosing(body):
            must_be_key(key)
            if key in self._held and not replace:
                raise Exists(key)
            taken: list[bytes] = []
            size = 0
            async with aclosing(pieces(body)) as source:
                async for piece in source:
                    size += len(piece)
                    self._must_fit(size)
                    taken.append(piece)
        data = b"".join(taken)
        if key in self._held and not replace:  # another write was faster
            raise Exists(key)
        self._must_fit(size)
        return self._put(key, data)

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        must_be_key(target)
        data = self._find(source)[1]
        if target in self._held and not replace:
            raise Exists(target)
        self._must_fit(len(data))
        return self._put(target, data)

    async def delete(self, key: str) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self._size -= held[0].size
            del self._keys[bisect_left(self._keys, (key.encode(), key))]

    async def stat(self, key: str) -> Blob:
        return self._find(key)[0]

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        for key in [key for _, key in self._keys if key.startswith(prefix)]:
            held = self._held.get(key)
            if held is not None:
                yield held[0]

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        return None

    def _find(self, key: str) -> tuple[Blob, bytes]:
        try:
            return self._held[key]
        except KeyError:
            raise Missing(key) from None

    def _must_fit(self, size: int) -> None:
        if self._capacity is not None and self._size + size > self._capacity:
            raise StorageFull("storage")

    def _put(self, key: str, data: bytes) -> Blob:
        if key in self._held:
            self._size -= self._held[key][0].size
        else:
            insort(self._keys, (key.encode(), key))
        self._writes += 1
        blob = Blob(key=key, size=len(data), modified=self._now(), etag=str(self._writes))
        self._held[key] = (blob, data)
        self._size += len(data)
        return blob
