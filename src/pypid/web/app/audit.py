"""The audit log: what a route changed is written down before it is answered, even if the client is
gone by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError

from pypid.core.accounts.entries import AuditEntry
from pypid.core.errors import StorageDown
from pypid.core.permissions import Identity
from pypid.flow import shielded
from pypid.web.app.app import App, user_of
from pypid.web.http.request import Request

T = TypeVar("T")
Details = Mapping[str, str]

MOST_LISTED = 20
"""Names that a line of the log lists; of more it tells how many there are."""
LONGEST = 500
"""Characters of one detail."""


async def recorded(
    face: App,
    request: Request,
    who: Identity,
    what: str,
    subject: str,
    doing: Coroutine[Any, Any, T],
    told: Callable[[T], Details | None] = lambda _: {},
) -> T:
    """Do it and write down that it was done, to the end: nobody escapes the log by closing the
    connection.

    `told` says more of what came of it; None: nothing has changed, so nothing is written down. What
    broke off in the storage is written down as well, for a part of it may have been done.
    """
    return await shielded(attempted(face, request, who, what, subject, doing, told))


async def attempted(
    face: App,
    request: Request,
    who: Identity,
    what: str,
    subject: str,
    doing: Coroutine[Any, Any, T],
    told: Callable[[T], Details | None] = lambda _: {},
) -> T:
    """As `recorded`, for what takes long and may be broken off by whoever asked for it: that is
    written down, too.
    """
    try:
        result = await doing
    except (StorageDown, CancelledError) as error:
        why = str(error) if isinstance(error, StorageDown) else "whoever asked for it went away"
        await shielded(note(face, request, who, what, subject, {"broke-off": why}))
        raise
    details = told(result)
    if details is not None:
        await shielded(note(face, request, who, what, subject, details))
    return result


async def note(
    face: App,
    request: Request,
    who: Identity,
    what: str,
    subject: str,
    details: Details | None = None,
) -> None:
    """Write down what was done. For what is `shielded` already; all else is `recorded`."""
    if face.registry is None:
        return
    deed = AuditEntry(
        when=face.world.now(),
        who=user_of(who),
        what=what,
        subject=subject,
        where=request.client_address() or "",
        token=who.token,
        details={name: value[:LONGEST] for name, value in (details or {}).items()},
    )
    await face.journal.note(deed)


def listed(names: Collection[str]) -> str:
    """The names, or the first of them and how many more there are."""
    first = sorted(names)[:MOST_LISTED]
    more = len(names) - len(first)
    return " ".join(first) + (f" and {more} more" if more else "")
