"""Views for callers that read a project once, and until when a response is valid.

The view of a project, made of the catalog and the storage alone and not cached, for callers that
read all projects in turn (search, exports, ``/packages/``).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from attrs import evolve, frozen

from pypid.core.errors import NoSuchProject, NotYetKnown
from pypid.core.model import Presence, Project, Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Visibility
from pypid.core.policy import (
    asks_upstream,
    changes_at,
    exists,
    files_looked_at,
    may_show_upstream,
    view,
)
from pypid.index.index import Index
from pypid.index.layers import earliest
from pypid.index.views import DIRECT, FEW, STORED, UpstreamPermission
from pypid.ports import Catalog


def stored_permission(by: Visibility) -> UpstreamPermission:
    """Return the permission to get what is stored here, as far as the viewer may read it."""
    return evolve(STORED, may_read=by.check_base) if by.bases else STORED


@frozen
class StoredView:
    """What clients see of a project, without an upstream request."""

    project: Project
    is_local: bool
    serials: tuple[int, int]
    """The serials of the local project and of the upstream one; 0 for one that is not shown."""
    until: datetime | None = None
    """When the view changes by itself (`[upstream] cooldown`)."""


async def stored_view(
    index: Index,
    name: ProjectName,
    *,
    online: bool = False,
    may_read: Callable[[str, ProjectName], None],
) -> tuple[Project, datetime | None] | None:
    """Return the project in the index and its layers, and when that changes by itself; None if no
    such project is known. `may_read`: see `UpstreamPermission`; otherwise as `own_stored_view`.
    """
    if index.is_alone(name):
        shown = await own_stored_view(index, name, online=online)
        return None if shown is None else (shown.project, shown.until)
    try:
        seen = await index.seen(name, evolve(STORED, known=online, may_read=may_read))
    except NoSuchProject:
        return None
    now, until = index.context.world.now(), seen.until
    for part in seen.single_views:
        if part.upstream_state is not None:
            policy = index.member(part.origin).context.policy
            until = earliest(until, changes_at(policy, part.upstream_state, name, now))
    return seen.view.project, until


async def stored_project(index: Index, name: ProjectName, by: Visibility) -> Project | None:
    """Return the project with the stored files, of the index or of its layers, that the viewer may
    read; None if no such project is known. Raises `StorageDown`, `NotYetKnown`.
    """
    if not index.is_layered:  # not `Index.seen`: that evicts cached views of other projects
        shown = await own_stored_view(index, name, verified=False)
        return None if shown is None else shown.project
    try:
        return (await index.seen(name, stored_permission(by))).view.project
    except NoSuchProject:
        return None


async def own_stored_view(
    index: Index, name: ProjectName, *, online: bool = False, verified: bool = True
) -> StoredView | None:
    """Return the view of the project, without the layers below the index; None if no such project
    is known.

    `online`: include upstream files that are not stored, as far as upstream may be asked for them.
    Without `verified` the catalog's entry of a local project is not compared with the storage.
    Raises `StorageDown`, `NotYetKnown`.
    """
    policy = index.context.policy
    local = Presence.UNKNOWN if verified else await index.catalog.local.get(name)
    if local is Presence.UNKNOWN:
        local = await index.context.local_project(name)
    if local is Presence.UNKNOWN:
        raise NotYetKnown(name)
    is_local = isinstance(local, Project)
    serial = local.serial if isinstance(local, Project) else 0
    upstream = None
    if may_show_upstream(policy, name, local):
        upstream = await index.listings.known(name)
        if online and asks_upstream(policy, name, local):
            upstream = evolve(upstream, reachable=True)
    if not is_local and (upstream is None or not exists(upstream)):
        return None
    now = index.context.world.now()
    if upstream is None:
        return StoredView(view(policy, local, None, now, name), is_local, (serial, 0))
    serials = serial, upstream.serial
    if files_looked_at(policy, local, upstream, now, name) > FEW:
        project = await index.context.world.thinking(view, policy, local, upstream, now, name)
    else:
        project = view(policy, local, upstream, now, name)
    return StoredView(project, is_local, serials, changes_at(policy, upstream, name, now))


# How long a response about a project is valid: until something that it was made from has changed.
#
# A cache of responses checks here, without waiting for anything, whether a response would be made
# again unchanged.


@frozen(kw_only=True)
class Validity:
    """What a project's view was made from."""

    name: ProjectName
    local: Summary | None
    upstream: Summary | None
    shows_upstream: bool = False
    queries_upstream: bool = False
    """Whether upstream is queried for it, which then must be available."""
    until: datetime | None = None
    """When the listing expires, or a file passes the cooldown; None: the response does not expire.
    """
    generation: str = ""
    """The catalog's generation: in another one the same heads may belong to other states."""


def validity_of(
    index: Index, name: ProjectName, permission: UpstreamPermission = DIRECT
) -> Validity | None:
    """Return the validity of the project's current view. None: each request has to find out, since
    nothing is certain without waiting.
    """
    catalog = index.catalog
    local, upstream = catalog.heads(name)
    if local is None and not catalog.knows_all:  # the storage is read each time
        return None
    if not index.is_alone(name):  # other heads count as well
        return None
    presence = Presence.ABSENT if local is None else Project(name=name)
    asks = permission.may_reach_out and asks_upstream(index.context.policy, name, presence)
    if not asks and not may_show_upstream(index.context.policy, name, presence):
        return Validity(name=name, local=local, upstream=None, generation=catalog.generation)
    until = None
    if index.context.policy.cooldown.may_hide(name):
        seen = index.views.until(name, reachable=asks)
        if seen is None:
            return None
        [until] = seen
    if asks:
        heard_at = catalog.listing_time(name)
        if heard_at is None or index.gate.breaker.error is not None:
            return None
        until = min(heard_at + index.source.ttl, until or heard_at + index.source.ttl)
    return Validity(
        name=name,
        local=local,
        upstream=upstream,
        shows_upstream=True,
        queries_upstream=asks,
        until=until,
        generation=catalog.generation,
    )


def is_valid(catalog: Catalog, validity: Validity) -> bool:
    """Return whether nothing has changed, apart from the time and the availability of upstream."""
    local, upstream = catalog.heads(validity.name)
    if catalog.generation != validity.generation:
        return False
    if local is not validity.local and local != validity.local:
        return False
    return (
        not validity.shows_upstream
        or upstream is validity.upstream
        or upstream == validity.upstream
    )
