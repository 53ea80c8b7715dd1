"""Several other indexes, in the order of the configuration: the first that knows a name wins."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from pypid.core.listing import at_once as all_at_once
from pypid.core.manynames import in_order
from pypid.core.model import Remembered, Span
from pypid.core.names import ProjectName
from pypid.flow import Blocking, at_once
from pypid.ports import Body, Upstream
from pypid.upstream.simple import SimpleUpstream


@frozen
class Several:
    """At least one index.

    One that is down ends the search: the name may be its own, and to take it from a later one would be to let somebody
    else in whenever an index is away (dependency confusion). What is remembered is served meanwhile.
    """

    indexes: Sequence[SimpleUpstream]
    _thinking: Blocking = at_once
    """To put long lists together."""

    async def project(self, name: ProjectName, known: Remembered | None, via: Sequence[str]) -> Remembered:
        """What the first index says that has the project; that none has it is said by the first."""
        answers = []
        for index in self.indexes:
            said = await index.project(name, known, via)
            if said.files is not None:
                return said
            answers.append(said)
        return answers[0]

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """The names of all, in order, each once. Raises `UpstreamDown` if one is away: half a list is none."""
        lists = [await index.names(via) for index in self.indexes]
        return lists[0] if len(lists) == 1 else await self._thinking(lambda: all_at_once(in_order(lists)))

    async def fetch(self, url: str, span: Span | None, via: Sequence[str]) -> Body:
        """The file, asked for as the user that the configuration has for the URL's origin, if it has one."""
        here = [index for index in self.indexes if index.is_at(url)]
        nearest = max(here, key=lambda index: _common(index.base.url, url), default=self.indexes[0])
        return await nearest.fetch(url, span, via)


_: type[Upstream] = Several


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    return next((count for count, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one))
