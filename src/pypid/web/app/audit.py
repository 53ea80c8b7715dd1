"""The audit log: what a route changes is recorded before it is answered, even if the client has
disconnected by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError

from pypid.core.accounts.entries import AUDIT_ACTIONS, AuditAction, AuditEntry
from pypid.core.configuration.checks import nearest
from pypid.core.errors import BadRequest, StorageDown, shortened
from pypid.core.indexes import DEFAULT
from pypid.flow import shielded
from pypid.web.app.app import user_of
from pypid.web.app.request_context import RequestContext

T = TypeVar("T")
Details = Mapping[str, str]

MOST_LISTED = 20
"""Maximum number of names in a log line; of more it says how many there are."""
LONGEST = 500
"""Maximum length of one detail in characters."""


async def recorded(
    ctx: RequestContext,
    what: AuditAction,
    subject: str,
    doing: Coroutine[Any, Any, T],
    details_of: Callable[[T], Details | None] = lambda _: {},
    *,
    index: str | None = None,
) -> T:
    """Run `doing` to the end and record it in the audit log, so that a client cannot escape the log
    by closing the connection.

    `details_of` returns details of the result; None: nothing has changed, so nothing is recorded. A
    failure of the storage is recorded as well, since part of the work may have been done. `index`:
    as of `note`.
    """
    return await shielded(attempted(ctx, what, subject, doing, details_of, index=index))


async def attempted(
    ctx: RequestContext,
    what: AuditAction,
    subject: str,
    doing: Coroutine[Any, Any, T],
    details_of: Callable[[T], Details | None] = lambda _: {},
    *,
    index: str | None = None,
) -> T:
    """Run `doing` and record it in the audit log, also when its client cancels it: for operations
    that take long. See `recorded`.
    """
    try:
        result = await doing
    except (StorageDown, CancelledError) as error:
        why = str(error) if isinstance(error, StorageDown) else "the client disconnected"
        await shielded(note(ctx, what, subject, {"broke-off": why}, index=index))
        raise
    details = details_of(result)
    if details is not None:
        await shielded(note(ctx, what, subject, details, index=index))
    return result


async def note(
    ctx: RequestContext,
    what: AuditAction,
    subject: str,
    details: Details | None = None,
    *,
    index: str | None = None,
) -> None:
    """Record what was done. For code that is already `shielded`; other code uses `recorded`.
    `index`: the index that was changed, ``default`` for the one at the root; None: the index below
    which the request was made.
    """
    if ctx.app.registry is None:
        return
    deed = AuditEntry(
        when=ctx.app.world.now(),
        who=user_of(ctx.identity),
        what=what,
        subject=subject,
        where=ctx.request.client_address() or "",
        token=ctx.identity.token,
        details={name: value[:LONGEST] for name, value in (details or {}).items()},
        index=ctx.app.index.name if index is None else ("" if index == DEFAULT else index),
    )
    await ctx.app.journal.note(deed)


def audit_action(text: str | None) -> AuditAction | None:
    """Return the action that a filter of the audit log names, None for none. Raises `BadRequest`
    with the most similar action.
    """
    for action in AUDIT_ACTIONS:
        if text == action:
            return action
    if not text:
        return None
    raise BadRequest(
        f"The audit log has no action {shortened(text)!r}{nearest(text, AUDIT_ACTIONS)}. Actions "
        "are named like commands, for example 'project delete'."
    )


def listed(names: Collection[str]) -> str:
    """Return the names, or the first of them and the number of the others."""
    first = sorted(names)[:MOST_LISTED]
    more = len(names) - len(first)
    return " ".join(first) + (f" and {more} more" if more else "")
