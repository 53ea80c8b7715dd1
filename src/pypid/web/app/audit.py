"""The audit log and the download log, as routes write them.

The audit log: what a route changes is recorded before it is answered, even if the client has
disconnected by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError

from pypid.core.accounts.rights import AUDIT_ACTIONS, AuditAction, AuditEntry, DownloadEntry
from pypid.core.configuration.checks import nearest
from pypid.core.errors import BadRequest, StorageDown, Withheld, shortened
from pypid.core.indexes import DEFAULT
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName, listed_version
from pypid.core.restrictions import HoldKind
from pypid.flow import shielded
from pypid.metrics.counts import WITHHELD
from pypid.web.app.app import App, user_of
from pypid.web.app.request_context import RequestContext
from pypid.web.http.request import UNIX, Request

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


# Recording of downloads, and of refused ones; `web.api.projects` reports them.


def record_download(ctx: RequestContext, file: File) -> None:
    """Record that the client gets the file, a part of it, or a URL to get it from.

    Parts and interrupted downloads count: a client with all bytes but one has the file. HEAD
    requests do not count, nor does an upstream file without a known digest.
    """
    app, request = ctx.app, ctx.request
    if request.method == b"GET" and app.registry is not None and file.sha256 is not None:
        app.downloads.note(
            DownloadEntry.of(
                file, ctx.identity, request.client_address(), app.world.now(), app.index.name
            )
        )


async def record_refusal(app: App, request: Request, error: Withheld) -> None:
    """Count a request for a withheld file, and record it in the audit log, once an hour for each
    client and file. If an administrator has to approve the file, it is added to the queue.
    """
    app.world.counts.add(WITHHELD, (error.kind.partition(" ")[0],))
    identity = request.identity
    if identity is None:
        return
    if error.kind == HoldKind.APPROVAL.value and app.decided is not None:
        project = ProjectName(error.project)
        by = identity.user or request.client_address() or UNIX
        await app.decided.approvals.request(project, by, listed_version(error.filename, project))
    client = f"{user_of(identity)} {request.client_address()}"
    if app.refusal_limit.admits(client, error.filename, app.world.clock.seconds()):
        details = {"project": error.project, "because": error.kind, "reference": error.reference}
        ctx = RequestContext(app, request, identity)
        await shielded(note(ctx, "download refuse", error.filename, details))
