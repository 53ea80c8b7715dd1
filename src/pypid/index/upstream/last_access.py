"""When kept files were last wanted: in memory to the second, and from time to time in the catalog,
to the hour.

So the least recently used can go first (`[upstream] max_cache`). At each download that would be a
write for each read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from attrs import define, evolve, field

from pypid.core.errors import CatalogDown
from pypid.core.model import UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.ports import Catalog

HOUR = 3600

Times = dict[ProjectName, dict[str, int]]
"""Seconds since 1970, by file name."""


@define(eq=False)
class LastAccess:
    """`touch` costs nothing; `write_down` is for a periodic job, and for the end."""

    now: Callable[[], datetime]
    _unwritten: Times = field(factory=dict, init=False, repr=False)
    _written: Times = field(factory=dict, init=False, repr=False)
    """What was written down less than an hour ago: in the order of the last hour, the seconds
    count.
    """

    def touch(self, name: ProjectName, filename: str) -> None:
        """The file was wanted now."""
        self._unwritten.setdefault(name, {})[filename] = int(self.now().timestamp())

    def wanted(self, heard: UpstreamEntry) -> Mapping[str, int]:
        """When files of the project were last wanted: in seconds since 1970, to the hour where that
        is long ago.
        """
        hours = {filename: hour * HOUR for filename, hour in heard.touched}
        return {**hours, **self._written.get(heard.name, {}), **self._unwritten.get(heard.name, {})}

    async def write_down(self, catalog: Catalog) -> None:
        """Tell the catalog what was touched since the last time; what a shared one cannot be told
        now, the next time.
        """
        self._forget(int(self.now().timestamp()) - HOUR)
        while self._unwritten:
            name, times = self._unwritten.popitem()
            hours = {filename: seconds // HOUR for filename, seconds in times.items()}
            try:
                await catalog.edit_theirs(name, partial(with_touched, hours=hours))
            except BaseException as error:
                self._unwritten[name] = {**times, **self._unwritten.get(name, {})}
                if isinstance(error, CatalogDown):
                    return
                raise
            self._written.setdefault(name, {}).update(times)

    def _forget(self, before: int) -> None:
        """Of what is written down the hour will do, if it was wanted before that time."""
        recent = {
            name: {filename: seconds for filename, seconds in times.items() if seconds >= before}
            for name, times in self._written.items()
        }
        self._written = {name: times for name, times in recent.items() if times}


def with_touched(heard: UpstreamEntry, hours: dict[str, int]) -> UpstreamEntry:
    """`heard`, in which these files (those of them that are kept) were wanted at these hours, at
    the earliest.
    """
    kept = {file.filename for file in heard.kept}
    known = {filename: hour for filename, hour in heard.touched if filename in kept}
    for filename, hour in hours.items():
        if filename in kept:
            known[filename] = max(hour, known.get(filename, 0))
    return evolve(heard, touched=tuple(sorted(known.items())))
