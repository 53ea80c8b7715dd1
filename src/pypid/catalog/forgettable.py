"""Which projects of other indexes may be forgotten: those of which nothing is kept, the longest
unasked first.

Whoever walks over all of the public index, or asks for names that nobody has, would otherwise fill
the memory with what upstream said of them: some 20 GB.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from attrs import define, field

from pypid.core.packaging.names import ProjectName

MOST = 128 << 20
"""Bytes that may be remembered of projects of which nothing is kept."""
OVERHEAD = 1000
"""Bytes that a line takes beside its own."""


@define(eq=False)
class Forgettable:
    """The projects that may go, in the order in which they should."""

    most: int = MOST
    _sizes: OrderedDict[ProjectName, int] = field(factory=OrderedDict, init=False, repr=False)
    _total: int = field(default=0, init=False)

    def note(self, name: ProjectName, size: int) -> None:
        """So many bytes are remembered of the project, and nothing of it is kept."""
        self.drop(name)
        self._sizes[name] = size + OVERHEAD
        self._total += size + OVERHEAD

    def drop(self, name: ProjectName) -> None:
        """The project may not go, or has gone."""
        self._total -= self._sizes.pop(name, 0)

    def surplus(self) -> Iterator[ProjectName]:
        """Those that go now, so that no more than `most` bytes stay; the one that was noted last
        always stays.
        """
        while self._total > self.most and len(self._sizes) > 1:
            name = next(iter(self._sizes))
            self.drop(name)
            yield name
