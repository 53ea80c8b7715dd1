"""How long a response about a project is valid: until something that it was made from has changed.

A cache of responses checks here, without waiting for anything, whether a response would be made
again unchanged.
"""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from pypid.core.model import Presence, Project, Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import asks_upstream, may_show_upstream
from pypid.index.index import Index
from pypid.index.views import DIRECT, UpstreamPermission
from pypid.ports import Glance


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
    index: Index, glance: Glance, name: ProjectName, permission: UpstreamPermission = DIRECT
) -> Validity | None:
    """Return the validity of the project's current view. None: each request has to find out, since
    nothing is certain without waiting.
    """
    local, upstream = glance.heads(name)
    if local is None and not glance.knows_all:  # the storage is read each time
        return None
    if not index.is_alone(name):  # other heads count as well
        return None
    presence = Presence.ABSENT if local is None else Project(name=name)
    asks = permission.may_reach_out and asks_upstream(index.policy, name, presence)
    if not asks and not may_show_upstream(index.policy, name, presence):
        return Validity(name=name, local=local, upstream=None, generation=glance.generation)
    until = None
    if index.policy.cooldown.may_hide(name):
        seen = index.seen_until(name, reachable=asks)
        if seen is None:
            return None
        [until] = seen
    if asks:
        heard_at = glance.listing_time(name)
        if heard_at is None or index.gate.breaker.error is not None:
            return None
        until = min(heard_at + index.ttl, until or heard_at + index.ttl)
    return Validity(
        name=name,
        local=local,
        upstream=upstream,
        shows_upstream=True,
        queries_upstream=asks,
        until=until,
        generation=glance.generation,
    )


def is_valid(glance: Glance, validity: Validity) -> bool:
    """Return whether nothing has changed, apart from the time and the availability of upstream."""
    local, upstream = glance.heads(validity.name)
    if glance.generation != validity.generation:
        return False
    if local is not validity.local and local != validity.local:
        return False
    return (
        not validity.shows_upstream
        or upstream is validity.upstream
        or upstream == validity.upstream
    )
