"""The servers that upstream files come from: retries, and circuit breakers.

A file that fails says nothing about the index that lists it, nor about other files. So its failures
count for its URL, and failures to connect for the origin of the URL (scheme, host and port).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

from attrs import define, field
from twisted.internet.task import deferLater

from pypid.core.errors import NotThere, UpstreamDown
from pypid.flow import World
from pypid.http_client.circuit_breaker import STRIKES, CircuitBreaker
from pypid.ports import Body

RETRIES = (0.2, 0.6)
"""Seconds before the second and the third try; up to as much again is added at random."""
LONGEST_WAIT = 2
"""Longest ``Retry-After`` in seconds that is waited for; after a longer one the client gets the
failure at once.
"""
MOST_BREAKERS = 1024
"""Maximum number of remembered origins and failed URLs; the least recently used are forgotten
first.
"""


@define(eq=False)
class FileHostBreakers:
    """Fetches files by URL; a host or a URL that failed three times in a row is only probed for a
    while.
    """

    world: World
    _breakers: OrderedDict[str, CircuitBreaker] = field(factory=OrderedDict, init=False, repr=False)

    async def fetch(self, url: str, ask: Callable[[], Awaitable[Body]]) -> Body:
        """Return what `ask` returns for the URL. Statuses 500, 502, 503 and 504 are retried.

        Raises what `ask` raises; and, without asking, the last `UpstreamDown` of a URL or host
        whose breaker is open.
        """
        host = self._host(url)
        host.refuse_unless_probe()
        if url in self._breakers:
            self._breakers[url].refuse_unless_probe()
        try:
            body = await self._retried(ask)
        except UpstreamDown as error:
            self._file(url).failed(error)
            if error.unreachable:
                host.failed(error)
            else:
                host.answered()
            raise
        except NotThere:
            host.answered()
            raise
        host.answered()
        self._breakers.pop(url, None)
        return body

    async def _retried(self, ask: Callable[[], Awaitable[Body]]) -> Body:
        for seconds in RETRIES:
            try:
                return await ask()
            except UpstreamDown as error:
                if not error.is_transient or (error.retry_after or 0) > LONGEST_WAIT:
                    raise
                jitter = seconds * self.world.random(1)[0] / 255
                await deferLater(self.world.clock, max(seconds, error.retry_after or 0) + jitter)
        return await ask()

    def _host(self, url: str) -> CircuitBreaker:
        address = urlsplit(url)
        origin = f"{address.scheme}://{address.netloc.rpartition('@')[2]}"
        return self._breaker(origin, f"the file host {origin}")

    def _file(self, url: str) -> CircuitBreaker:
        return self._breaker(
            url, f"the upstream file {unquote(urlsplit(url).path.rpartition('/')[2])[:250]!r}"
        )

    def _breaker(self, key: str, what: str) -> CircuitBreaker:
        breaker = self._breakers.get(key)
        if breaker is None:
            breaker = self._breakers[key] = CircuitBreaker(self.world, what, refusals=STRIKES)
            if len(self._breakers) > MOST_BREAKERS:
                self._breakers.popitem(last=False)
        self._breakers.move_to_end(key)
        return breaker
