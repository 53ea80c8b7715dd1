"""How long a response about a project is valid: until something that it was made from has changed.

A cache of responses checks here, without waiting for anything, whether a response would be made
again unchanged.
"""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from pypid.core.model import Presence, Project, Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import asks_upstream, cooldown_of, may_show_theirs
from pypid.index.index import Index
from pypid.index.upstream_permission import DIRECT, UpstreamPermission
from pypid.ports import Glance


@frozen(kw_only=True)
class Validity:
    """What a project's view was made from."""

    name: ProjectName
    ours: Summary | None
    theirs: Summary | None
    shows_theirs: bool = False
    asks: bool = False
    """Whether upstream is asked for it, which then must not be down."""
    until: datetime | None = None
    """When upstream has to be asked again, or a file passes the cooldown; None: it does not expire.
    """
    epoch: str = ""
    """The catalog's epoch: in another one the same heads may belong to other states."""


def standing_of(
    index: Index, glance: Glance, name: ProjectName, asked: UpstreamPermission = DIRECT
) -> Validity | None:
    """Return the validity of the project's current view. None: each request has to find out, since
    nothing is certain without waiting.
    """
    ours, theirs = glance.heads(name)
    if ours is None and not glance.knows_all:  # the storage is read each time
        return None
    presence = Presence.ABSENT if ours is None else Project(name=name)
    asks = asked.may_reach_out and asks_upstream(index.policy, name, presence)
    if not asks and not may_show_theirs(index.policy, name, presence):
        return Validity(name=name, ours=ours, theirs=None, epoch=glance.generation)
    until = None
    if cooldown_of(index.policy, name):
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
        ours=ours,
        theirs=theirs,
        shows_theirs=True,
        asks=asks,
        until=until,
        epoch=glance.generation,
    )


def stands(glance: Glance, standing: Validity) -> bool:
    """Return whether nothing has changed, apart from the time and the availability of upstream."""
    ours, theirs = glance.heads(standing.name)
    if glance.generation != standing.epoch:
        return False
    if ours is not standing.ours and ours != standing.ours:
        return False
    return not standing.shows_theirs or theirs is standing.theirs or theirs == standing.theirs
