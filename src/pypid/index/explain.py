"""Why a project looks as it does: what is known of it here and now, put before the rules. Nobody
else is asked.
"""

from __future__ import annotations

from pypid.core.errors import StorageDown
from pypid.core.model import Presence, Project
from pypid.core.packaging.names import ProjectName
from pypid.core.presentation.explanation import Why, explain
from pypid.index.index import Index


async def why(index: Index, name: ProjectName) -> Why:
    """What there is to say of the name. Raises `StorageDown` where not even what is kept of it can
    be found out.

    A question changes nothing: what upstream would say now is not asked for, what it said last is
    told.
    """
    ours = await _ours(index, name)
    theirs = await index.correspondent.standing(name)
    # off the reactor thread: ten thousand files take more than 100 ms
    return await index.world.thinking(explain, index.policy, name, ours, theirs, index.world.now())


async def _ours(index: Index, name: ProjectName) -> Project | Presence:
    """As it is for a client: with the storage away, what the catalog does not hold is not known."""
    try:
        return await index.parts.ours(name)
    except StorageDown:
        return Presence.UNKNOWN
