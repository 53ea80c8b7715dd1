"""What is seen of projects, worked out once for each change and not for each request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from datetime import datetime

from attrs import field, frozen

from pypid.core.model import Presence, Project
from pypid.core.names import ProjectName
from pypid.core.policy import Policy, Theirs, changes_at, view

LIMIT = 256
"""Views that are kept, least recently used first out."""


@frozen
class View:
    """What a client may see of a project. `edition` tells it from the project's other views: another one, another page."""

    project: Project
    edition: Hashable


@frozen
class _Seen:
    basis: Hashable
    """What it was made of: the serials of both sides, and whether upstream can be asked."""
    until: datetime | None
    """When it changes by itself (`[upstream] cooldown`)."""
    view: View


@frozen
class Views:
    """The views of one policy, the last ones used."""

    policy: Policy
    _kept: OrderedDict[tuple[ProjectName, bool], _Seen] = field(factory=OrderedDict, init=False, repr=False)

    def of(self, name: ProjectName, ours: Project | Presence, theirs: Theirs | None, now: datetime) -> View:
        """The view of what is ours and theirs (`policy.view`)."""
        own = ours.serial if isinstance(ours, Project) else None
        if theirs is None:
            return View(view(self.policy, ours, None, now, name), (own,))
        key, basis = (name, theirs.reachable), (own, theirs.serial)
        seen = self._kept.get(key)
        if seen is not None and seen.basis == basis and (seen.until is None or now < seen.until):
            self._kept.move_to_end(key)
            return seen.view
        until = changes_at(self.policy, theirs, name, now)
        made = View(view(self.policy, ours, theirs, now, name), (basis, theirs.reachable, until))
        self._kept[key] = _Seen(basis, until, made)
        if len(self._kept) > LIMIT:
            self._kept.popitem(last=False)
        return made
