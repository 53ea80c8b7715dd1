"""The views of projects, computed once per change rather than per request, and what a request may
cause at the upstream indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime

from attrs import field, frozen

from pypid.core.errors import PypidError
from pypid.core.lru import Recent
from pypid.core.model import Presence, Project, any_attested
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy, UpstreamState, changes_at, view
from pypid.flow import Blocking
from pypid.flow.single_flight import Flights


@frozen
class UpstreamPermission:
    """What a request may cause upstream, and which part of the index it is for.

    `via`: the pypid instances that the request has passed through (``Via``). `refusal`: the error
    to raise if an upstream request would be necessary and this user may not cause one
    (`[access] cache_update`); stored files are still served. `local`: only stored files are
    requested, and there are no upstream requests (``/local/``). `before`: the index is requested as
    it was before this time (``/at/``).
    """

    via: tuple[str, ...] = ()
    refusal: PypidError | None = None
    local: bool = False
    before: datetime | None = None
    spend: Callable[[], None] | None = field(default=None, eq=False, repr=False)
    """Deducts one name that was never looked up upstream from the client's budget, or raises
    `Busy`; None: there is no limit.
    """

    @property
    def may_reach_out(self) -> bool:
        """Whether there may be upstream requests on behalf of this request."""
        return self.refusal is None and not self.local


DIRECT = UpstreamPermission()
"""The permission of a direct request, or of an internal one, without restrictions."""


LIMIT = 256
"""Maximum number of cached views; the least recently used are dropped first."""
MOST_FILES = 150_000
"""Maximum number of files in them together; most are shared with the catalog."""
MOST_OWN = 20_000
"""Maximum number of files in the cached views of local projects alone, which are quickly made
again.
"""
FEW = 1000
"""Largest number of files judged on the reactor thread: it takes some 3 milliseconds."""


_Key = tuple[ProjectName, bool, bool]
"""The project, whether upstream can be asked, whether only stored files are shown."""


@frozen
class View:
    """What a client may see of a project. `edition` identifies this view among the project's views:
    another edition, another page.
    """

    project: Project
    edition: Hashable
    attested: bool
    """Whether any of its files has a provenance object here."""


@frozen
class ViewSources:
    """A view, and what it was made from."""

    view: View
    ours: Project | Presence
    upstream_state: UpstreamState | None


@frozen
class _Seen:
    basis: Hashable
    """What it was made from: the catalog's generation, and the serials of both sides."""
    made: datetime
    """When it was computed. It is not valid for an earlier time, to which the clock may have been
    set back since.
    """
    until: datetime | None
    """When it changes by itself (`[upstream] cooldown`)."""
    view: View

    def holds(self, now: datetime) -> bool:
        """Return whether time has not changed it."""
        return self.made <= now and (self.until is None or now < self.until)


@frozen
class Views:
    """The most recently used views of one policy. `thinking` runs the computation for many files
    (`World.thinking`).
    """

    policy: Policy
    thinking: Blocking
    _kept: Recent[_Key, _Seen] = field(
        factory=lambda: Recent(LIMIT, MOST_FILES), init=False, repr=False
    )
    _own: Recent[ProjectName, tuple[Project, str, View]] = field(
        factory=lambda: Recent(LIMIT, MOST_OWN), init=False, repr=False
    )
    """The view of a local project alone changes only with the project, which is then another
    object.
    """
    _flights: Flights[Hashable, View] = field(factory=Flights, init=False, repr=False)

    async def of(
        self,
        name: ProjectName,
        ours: Project | Presence,
        upstream_state: UpstreamState | None,
        now: datetime,
        generation: str = "",
    ) -> View:
        """Return the view of the local and the upstream project (`policy.view`), in this
        `Catalog.generation` or a later one.
        """
        if upstream_state is None:
            return self._of_ours(name, ours, now, generation)
        key, basis = (
            (name, upstream_state.reachable, upstream_state.stored_only),
            (generation, _serial_of(ours), upstream_state.serial),
        )
        seen = self._kept.get(key)
        if seen is not None and seen.basis == basis and seen.holds(now):
            return seen.view
        if _files_of(upstream_state) <= FEW:
            return self._keep(key, _see(self.policy, ours, upstream_state, now, name, basis))

        async def job() -> View:
            return self._keep(
                key, await self.thinking(_see, self.policy, ours, upstream_state, now, name, basis)
            )

        return await self._flights.single((key, basis, seen and seen.until), job)

    def _of_ours(
        self, name: ProjectName, ours: Project | Presence, now: datetime, generation: str
    ) -> View:
        known = self._own.get(name)
        if known is not None and known[0] is ours and known[1] == generation:
            return known[2]
        made = _viewed(view(self.policy, ours, None, now, name), (generation, _serial_of(ours)))
        if isinstance(ours, Project):
            self._own.put(name, (ours, generation, made), 1 + len(ours.files))
        return made

    def until(self, name: ProjectName, *, reachable: bool) -> tuple[datetime | None] | None:
        """Return when the latest view changes by itself, in a tuple; None if it is no longer
        cached.
        """
        seen = self._kept.get((name, reachable, not reachable))
        return None if seen is None else (seen.until,)

    def _keep(self, key: _Key, seen: _Seen) -> View:
        self._kept.put(key, seen, 1 + len(seen.view.project.files))
        return seen.view


def _see(
    policy: Policy,
    ours: Project | Presence,
    upstream_state: UpstreamState,
    now: datetime,
    name: ProjectName,
    basis: Hashable,
) -> _Seen:
    until = changes_at(policy, upstream_state, name, now)
    edition = basis, upstream_state.reachable, upstream_state.stored_only, until
    return _Seen(basis, now, until, _viewed(view(policy, ours, upstream_state, now, name), edition))


def _viewed(project: Project, edition: Hashable) -> View:
    return View(project, edition, any_attested(project.files))


def _serial_of(ours: Project | Presence) -> Hashable:
    """Return what identifies a version of the local project: the project itself if the catalog gave
    it no serial.
    """
    if isinstance(ours, Project):
        return ours.serial or ours
    return ours  # an unknown owner shows nothing of upstream


def _files_of(upstream_state: UpstreamState) -> int:
    listing = upstream_state.listing
    return len(upstream_state.kept) + len((listing.files if listing is not None else None) or ())
