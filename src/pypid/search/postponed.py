"""Upstream projects that are indexed once they have stopped changing."""

from __future__ import annotations

from collections.abc import Collection

from attrs import define, field

from pypid.core.packaging.names import ProjectName

QUIET, LATEST = 3.0, 30.0
"""Seconds after the last change, and after the first one, when the projects are due: an
installation through the proxy changes a hundred of them, each several times, and no client waits
for its card.
"""


@define(eq=False)
class Postponed:
    """The projects that wait. Times are in seconds of the monotonic clock."""

    names: dict[ProjectName, None] = field(factory=dict, init=False)
    _since: float = field(default=0.0, init=False)
    _due: float = field(default=0.0, init=False)

    def add(self, names: Collection[ProjectName], now: float) -> None:
        """Add projects that changed now."""
        if names:
            self._since = self._since if self.names else now
            self.names.update(dict.fromkeys(names))
            self._due = min(now + QUIET, self._since + LATEST)

    def take(self, now: float) -> dict[ProjectName, None]:
        """Return the projects that are due, and remove them from those that wait."""
        if now < self._due:
            return {}
        due, self.names = self.names, {}
        return due
