"""The lists of projects, put together once for each change and not for each request."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from attrs import define, field

from pypid.core.model import Presence, Summary
from pypid.core.policy import Policy, is_listed, may_show_theirs
from pypid.ports import Catalog

_by_name = attrgetter("name")


@define(eq=False)
class Names:
    """The lists of one index. The catalog gives the same objects until something changes."""

    catalog: Catalog
    policy: Policy
    _listed: tuple[Sequence[Summary], Sequence[Summary]] = field(default=((), ()), init=False, repr=False)
    """The catalog's names, and those of them that are listed."""
    _stored: tuple[Sequence[Summary], Sequence[Summary], bool, Sequence[Summary]] = field(
        default=((), (), False, ()), init=False, repr=False
    )
    """Those that are listed, those of theirs that are kept, whether it is known what is ours; and what that makes together."""

    async def listed(self) -> Sequence[Summary]:
        """Ours, by name, without those that are not listed."""
        names = await self.catalog.names()
        if names is not self._listed[0]:
            everyone = all(map(is_listed, names))
            self._listed = (names, names if everyone else tuple(filter(is_listed, names)))
        return self._listed[1]

    async def stored(self) -> Sequence[Summary]:
        """The same, with the projects of theirs of which files are kept, and which no rule hides."""
        listed, kept = await self.listed(), await self.catalog.their_summaries()
        complete = await self.catalog.is_complete()
        if listed is not self._stored[0] or kept is not self._stored[1] or complete is not self._stored[2]:
            shown = self._shown(kept, Presence.ABSENT if complete else Presence.UNKNOWN)
            together = tuple(sorted((*listed, *shown), key=_by_name)) if shown else listed
            self._stored = (listed, kept, complete, together)
        return self._stored[3]

    def _shown(self, kept: Sequence[Summary], presence: Presence) -> list[Summary]:
        """Those that may be shown beside ours; `presence` says what is known of a name that we do not hold."""
        held = set(map(_by_name, self._listed[0]))  # also what is not listed: then neither are files of theirs shown
        return [
            summary
            for summary in kept
            if summary.name not in held and is_listed(summary) and may_show_theirs(self.policy, summary.name, presence)
        ]
