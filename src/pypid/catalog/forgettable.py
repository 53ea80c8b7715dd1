"""The upstream projects that may be dropped: those without cached files, the least recently used
first.

Otherwise a client that requests the whole public index, or names that do not exist, would fill
memory and disk with upstream listings.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from attrs import define, field

from pypid.core.packaging.names import ProjectName

MOST = 1 << 30
"""Bytes that projects without cached files may take, in memory and on disk."""
MOST_SHARED = 128 << 20
"""The same in a shared catalog, where they are not compressed."""
MOST_GONE = 8 << 20
"""Bytes that names may take which upstream does not have: some 7,000 of them."""
OVERHEAD = 1000
"""Bytes of memory that a project takes in addition to its line."""


@define(eq=False)
class Forgettable:
    """The projects that may be dropped, in the order in which they are."""

    most: int = MOST
    most_in_memory: int = MOST
    _sizes: OrderedDict[ProjectName, tuple[int, int]] = field(
        factory=OrderedDict, init=False, repr=False
    )
    _total: int = field(default=0, init=False)
    _in_memory: int = field(default=0, init=False)

    def note(self, name: ProjectName, size: int, in_memory: int = 0) -> None:
        """Note the size in bytes of a project without cached files, and how much of it always stays
        in memory.
        """
        self.drop(name)
        self._sizes[name] = size + OVERHEAD, in_memory + OVERHEAD
        self._total += size + OVERHEAD
        self._in_memory += in_memory + OVERHEAD

    def drop(self, name: ProjectName) -> None:
        """Note that the project may not be dropped, or was removed."""
        size, in_memory = self._sizes.pop(name, (0, 0))
        self._total -= size
        self._in_memory -= in_memory

    def pop_excess(self) -> Iterator[ProjectName]:
        """Yield the projects to drop now, so that no more than `most` bytes stay, and no more than
        `most_in_memory` in memory; the one that was noted last always stays.
        """
        while self._is_excessive and len(self._sizes) > 1:
            name = next(iter(self._sizes))
            self.drop(name)
            yield name

    @property
    def _is_excessive(self) -> bool:
        return self._total > self.most or self._in_memory > self.most_in_memory
