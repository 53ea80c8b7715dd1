"""When cached files were last accessed: in memory to the second, and periodically in the catalog,
to the hour.

So the least recently used can be evicted first (`[upstream] max_cache`). Storing each download
would be a write for each read.
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
    """Last access times. `touch` costs nothing; `write_down` is for a periodic job, and for
    shutdown.
    """

    now: Callable[[], datetime]
    _unwritten: Times = field(factory=dict, init=False, repr=False)
    _written: Times = field(factory=dict, init=False, repr=False)
    """Times written less than an hour ago, still to the second: within the last hour, their order
    matters.
    """

    def touch(self, name: ProjectName, filename: str) -> None:
        """Note that the file is accessed now."""
        self._unwritten.setdefault(name, {})[filename] = int(self.now().timestamp())

    def wanted(self, entry: UpstreamEntry) -> Mapping[str, int]:
        """Return when files of the project were last accessed: in seconds since 1970, rounded to
        the hour if long ago.
        """
        hours = {filename: hour * HOUR for filename, hour in entry.touched}
        return {**hours, **self._written.get(entry.name, {}), **self._unwritten.get(entry.name, {})}

    async def write_down(self, catalog: Catalog) -> None:
        """Write the accesses since the last call to the catalog; if a shared one is unavailable,
        keep them for the next call.
        """
        self._forget(int(self.now().timestamp()) - HOUR)
        while self._unwritten:
            name, times = self._unwritten.popitem()
            hours = {filename: seconds // HOUR for filename, seconds in times.items()}
            try:
                await catalog.upstream.edit(name, partial(with_touched, hours=hours))
            except BaseException as error:
                self._unwritten[name] = {**times, **self._unwritten.get(name, {})}
                if isinstance(error, CatalogDown):
                    return
                raise
            self._written.setdefault(name, {}).update(times)

    def _forget(self, before: int) -> None:
        """Drop the seconds of times that are older than this: the hour in the catalog is precise
        enough.
        """
        recent = {
            name: {filename: seconds for filename, seconds in times.items() if seconds >= before}
            for name, times in self._written.items()
        }
        self._written = {name: times for name, times in recent.items() if times}


def with_touched(entry: UpstreamEntry, hours: dict[str, int]) -> UpstreamEntry:
    """Return `entry` with the last access of these files (those that are cached) set to these
    hours, unless it is later already.
    """
    kept = {file.filename for file in entry.kept}
    known = {filename: hour for filename, hour in entry.touched if filename in kept}
    for filename, hour in hours.items():
        if filename in kept:
            known[filename] = max(hour, known.get(filename, 0))
    return evolve(entry, touched=tuple(sorted(known.items())))
