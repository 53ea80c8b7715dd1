"""Several upstream indexes, in the order of the configuration: the first that has a name wins.

If the first one is down, the search ends for every name. A later one matters only for names that
the earlier ones do not have: it has a circuit breaker of its own, and its failures are marked
`secondary`.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from pypid.core.errors import BadListing, UpstreamDown
from pypid.core.model import Listing, Span
from pypid.core.packaging.name_sets import in_order
from pypid.core.packaging.names import ProjectName
from pypid.core.simple_api.parse import at_once as all_at_once
from pypid.flow import Blocking, at_once
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.ports import Body, Upstream
from pypid.upstream.simple import SimpleUpstream


@frozen
class Several:
    """An upstream of at least one index.

    An index that is down ends the search: the name may be its own, and taking it from a later one
    would allow dependency confusion whenever an index is down. The remembered listing is served
    meanwhile.
    """

    indexes: Sequence[SimpleUpstream]
    _breakers: Sequence[CircuitBreaker]
    """One for each index but the first, whose breaker the caller has (`UpstreamGate.breaker`)."""
    _thinking: Blocking = at_once
    """Runs the merging of long lists."""

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        """Return the listing of the first index that has the project; if none has it, that of the
        first.
        """
        first = await self.indexes[0].project(name, known, via)
        if first.files is not None:
            return first
        for index, breaker in zip(self.indexes[1:], self._breakers, strict=True):
            listing = await _ask_secondary(index, breaker, name, known, via)
            if listing.files is not None:
                return listing
        return first

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """Return the names of all, in order, each once. Raises `UpstreamDown` if one is down: a
        partial list is useless.
        """
        lists = [await self.indexes[0].names(via)]
        for index in self.indexes[1:]:
            try:
                lists.append(await index.names(via))
            except UpstreamDown as error:
                raise evolve(error, secondary=True) from error
        return (
            lists[0]
            if len(lists) == 1
            else await self._thinking(lambda: all_at_once(in_order(lists)))
        )

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        """Return the file, requested with the configured user of the URL's origin, if there is
        one.
        """
        here = [index for index in self.indexes if index.is_at(url)]
        nearest = max(here, key=lambda index: _common(index.base.url, url), default=self.indexes[0])
        return await nearest.fetch(url, span, via, verified=verified)


_: type[Upstream] = Several


async def _ask_secondary(
    index: SimpleUpstream,
    breaker: CircuitBreaker,
    name: ProjectName,
    known: Listing | None,
    via: Sequence[str],
) -> Listing:
    try:
        breaker.refuse_unless_probe()
    except UpstreamDown as error:
        raise evolve(error, secondary=True) from None
    try:
        listing = await index.project(name, known, via)
    except UpstreamDown as error:
        breaker.failed(error)
        raise evolve(error, secondary=True) from error
    except BadListing:
        breaker.answered()
        raise
    breaker.answered()
    return listing


def _common(one: str, other: str) -> int:
    """Return the length of the common prefix."""
    return next(
        (count for count, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        len(one),
    )
