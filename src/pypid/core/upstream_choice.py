"""Which upstreams are asked for a name. Pure.

A name that matches `only` of a chosen `[upstream:NAME]` is requested from that upstream only, so
that no other upstream can provide the project. All other names go to the public index, if that is
chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

from pypid.core.packaging.globs import matches
from pypid.core.packaging.names import ProjectName

PUBLIC = "public"
"""The name of `[upstream] url` in lists of upstreams and of bases."""
_ANY_NAME = ("*",)
"""The patterns of an upstream that was removed from the configuration: it may be for any name."""
NO_PATTERNS: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@frozen
class UpstreamChoice:
    """The upstreams of one index, in order: names of sections, and `PUBLIC`."""

    names: tuple[str, ...] = (PUBLIC,)
    only: Mapping[str, tuple[str, ...]] = NO_PATTERNS
    """The names and globs of each `[upstream:NAME]`."""

    @classmethod
    def of(
        cls, chosen: tuple[str, ...] | None, only: Mapping[str, tuple[str, ...]] = NO_PATTERNS
    ) -> UpstreamChoice:
        """Return the choice of an index: `chosen`, or all upstreams for None."""
        return cls((*only, PUBLIC) if chosen is None else chosen, only)

    @property
    def named(self) -> tuple[str, ...]:
        """The chosen upstreams without `PUBLIC`."""
        return tuple(name for name in self.names if name != PUBLIC)

    def upstreams_of(self, project: ProjectName) -> tuple[str, ...]:
        """Return the upstreams to ask for the project, in order: those whose patterns match, else
        the public index; none if that is not chosen. An upstream that was removed from the
        configuration is returned for each name, so that its private names do not go to the public
        index.
        """
        found = tuple(
            name for name in self.named if matches(project, self.only.get(name, _ANY_NAME))
        )
        if found:
            return found
        return (PUBLIC,) if PUBLIC in self.names else ()
