"""When kept files were last wanted: in memory, to the hour, and from time to time in the catalog.

So the least recently used can go first (`[cache] max_cache`). At each download that would be a write for each read.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from attrs import define, evolve, field

from pypid.core.model import Heard
from pypid.core.names import ProjectName
from pypid.ports import Catalog

HOUR = 3600


@define(eq=False)
class Touches:
    """`touch` costs nothing; `write_down` is for a periodic job, and for the end."""

    now: Callable[[], datetime]
    _hours: dict[ProjectName, dict[str, int]] = field(factory=dict, init=False, repr=False)
    """What is not written down yet: hours since 1970, by file name."""

    def touch(self, name: ProjectName, filename: str) -> None:
        """The file was wanted now."""
        self._hours.setdefault(name, {})[filename] = int(self.now().timestamp()) // HOUR

    async def write_down(self, catalog: Catalog) -> None:
        """Tell the catalog what was touched since the last time."""
        while self._hours:
            name, hours = self._hours.popitem()
            try:
                await catalog.edit_theirs(name, lambda heard, hours=hours: with_touched(heard, hours))  # type: ignore[misc]
            except BaseException:
                self._hours[name] = {**hours, **self._hours.get(name, {})}
                raise


def with_touched(heard: Heard, hours: dict[str, int]) -> Heard:
    """`heard`, in which these files (those of them that are kept) were wanted at these hours, at the earliest."""
    kept = {file.filename for file in heard.kept}
    known = {filename: hour for filename, hour in heard.touched if filename in kept}
    for filename, hour in hours.items():
        if filename in kept:
            known[filename] = max(hour, known.get(filename, 0))
    return evolve(heard, touched=tuple(sorted(known.items())))
