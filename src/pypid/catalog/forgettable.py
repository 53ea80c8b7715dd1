"""The upstream projects that may be dropped from memory: those without cached files, the least
recently used first.

Otherwise a client that requests the whole public index, or names that do not exist, would fill the
memory with upstream listings: some 20 GB.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from attrs import define, field

from pypid.core.packaging.names import ProjectName

MOST = 128 << 20
"""Bytes that projects without cached files may take."""
OVERHEAD = 1000
"""Bytes that a line takes in addition to its own."""


@define(eq=False)
class Forgettable:
    """The projects that may be dropped, in the order in which they are."""

    most: int = MOST
    _sizes: OrderedDict[ProjectName, int] = field(factory=OrderedDict, init=False, repr=False)
    _total: int = field(default=0, init=False)

    def note(self, name: ProjectName, size: int) -> None:
        """Note the size in bytes of a project without cached files."""
        self.drop(name)
        self._sizes[name] = size + OVERHEAD
        self._total += size + OVERHEAD

    def drop(self, name: ProjectName) -> None:
        """Note that the project may not be dropped, or was removed."""
        self._total -= self._sizes.pop(name, 0)

    def pop_excess(self) -> Iterator[ProjectName]:
        """Yield the projects to drop now, so that no more than `most` bytes stay; the one that was
        noted last always stays.
        """
        while self._total > self.most and len(self._sizes) > 1:
            name = next(iter(self._sizes))
            self.drop(name)
            yield name
