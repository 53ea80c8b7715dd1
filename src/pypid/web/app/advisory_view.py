"""Advisories as a viewer may see them: public ones as they are, private ones (`[advisories] own`)
as far as the viewer may read the projects that they name.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import msgspec

from pypid.advisories.database import StoredAdvisory
from pypid.advisories.service import Advisories
from pypid.core.advisories.osv import AdvisorySummary
from pypid.core.advisories.osv_api import visible_record
from pypid.core.errors import Busy
from pypid.core.packaging.names import ProjectName
from pypid.core.visibility import Visibility

UNREAD = "The source of advisories has not been read yet."


async def record_for(advisories: Advisories, id: str, by: Visibility) -> bytes | None:
    """Return the OSV record with this id as JSON; None if there is none that the viewer may see.
    Raises `Busy`.
    """
    stored = await advisories.record(id)
    if stored is None or not stored.private or by.sees_all:
        return None if stored is None else stored.document
    return await advisories.world.blocking(_visible, stored, by)


def _visible(stored: StoredAdvisory, by: Visibility) -> bytes | None:
    return visible_record(stored.document, stored.projects, by.sees)


def hits_for(
    advisories: Advisories, name: ProjectName, version: str | None, by: Visibility
) -> tuple[AdvisorySummary, ...]:
    """Return the advisories in force that hit a version (None: any) of a project. Those that are
    private are among them only if the viewer may read the project.
    """
    if not advisories.knows(name):
        return ()
    private = by.sees_all or by.sees(name)
    if version is not None:
        return advisories.hits(name, version, private=private)
    return tuple(
        each for each in advisories.of(name) if not each.withdrawn and (private or not each.private)
    )


async def without_hidden_names(
    advisories: Advisories, found: Iterable[AdvisorySummary], by: Visibility
) -> tuple[AdvisorySummary, ...]:
    """Return the advisories of a readable project, without the text of those private ones that
    also name projects which the viewer may not read.
    """
    shown: list[AdvisorySummary] = []
    for advisory in found:
        if advisory.is_shared and not by.sees_all:
            stored = None
            with suppress(Busy):
                stored = await advisories.record(advisory.id)
            if stored is None or not all(map(by.sees, stored.projects)):
                advisory = msgspec.structs.replace(advisory, summary="", aliases=())
        shown.append(advisory)
    return tuple(shown)
