"""Stores that fail, die, or keep everybody waiting, at the operation that the test chooses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta

from twisted.internet.defer import Deferred

from pypid.core.model import Blob, SignedUrl, Span
from pypid.ports import Blobs, Body


class Died(BaseException):
    """The process ended here: no `except Exception` sees it, and nothing that comes after it is
    done.
    """


class Watched:
    """A store that counts what is asked of it. Subclasses decide what becomes of each operation."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.asked: list[str] = []

    async def _before(self, what: str) -> None:
        self.asked.append(what)

    async def _after(self, what: str) -> None:
        return None

    async def read(self, key: str, span: Span | None = None) -> Body:
        await self._before(f"read {key}")
        body = await self._blobs.read(key, span)
        await self._after(f"read {key}")
        return body

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        async with aclosing(body):
            await self._before(f"write {key}")
            blob = await self._blobs.write(key, body, replace=replace)
            await self._after(f"write {key}")
            return blob

    async def delete(self, key: str) -> None:
        await self._before(f"delete {key}")
        await self._blobs.delete(key)
        await self._after(f"delete {key}")

    async def stat(self, key: str) -> Blob:
        await self._before(f"stat {key}")
        blob = await self._blobs.stat(key)
        await self._after(f"stat {key}")
        return blob

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        await self._before(f"list {prefix}")
        async with aclosing(self._blobs.list(prefix)) as listing:
            async for blob in listing:
                yield blob
        await self._after(f"list {prefix}")

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        return await self._blobs.link(key, lifetime, filename)


class Storm(Watched):
    """Fails operation number `nth` (from 1), before it is done or after; from then on all, if it is
    `for_good`.
    """

    def __init__(
        self,
        blobs: Blobs,
        nth: int,
        error: Callable[[], BaseException],
        *,
        late: bool = False,
        for_good: bool = False,
    ) -> None:
        super().__init__(blobs)
        self._nth = nth
        self._error = error
        self._late = late
        self._for_good = for_good

    @property
    def struck(self) -> bool:
        """Whether there were so many operations."""
        return len(self.asked) >= self._nth

    async def _before(self, what: str) -> None:
        await super()._before(what)
        if len(self.asked) > self._nth and self._for_good:
            raise self._error()
        if len(self.asked) == self._nth and not self._late:
            raise self._error()

    async def _after(self, what: str) -> None:
        if len(self.asked) == self._nth and self._late:
            raise self._error()


class Gated(Watched):
    """Every operation waits, at its beginning and at its end, until the test lets it through."""

    def __init__(self, blobs: Blobs) -> None:
        super().__init__(blobs)
        self.waiting: list[tuple[str, Deferred[None]]] = []

    async def _gate(self, what: str) -> None:
        gate: Deferred[None] = Deferred()
        self.waiting.append((what, gate))
        await gate

    async def _before(self, what: str) -> None:
        await super()._before(what)
        await self._gate(what)

    async def _after(self, what: str) -> None:
        await self._gate(f"{what}, done")

    def go(self, which: int = 0) -> None:
        """Let one through: the oldest, or another."""
        self.waiting.pop(which % len(self.waiting))[1].callback(None)

    def all(self, choose: Callable[[int], int] = lambda number: 0) -> None:
        """Let all through until none waits; `choose` says which of so many is next."""
        steps = 0
        while self.waiting:
            self.go(choose(len(self.waiting)))
            steps += 1
            assert steps < 10_000, "it never ends"


_blobs: type[Blobs] = Watched
