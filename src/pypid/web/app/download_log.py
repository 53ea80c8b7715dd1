"""Recording of downloads, and of refused ones; `web.api.downloads` reports them."""

from __future__ import annotations

from pypid.core.accounts.entries import DownloadEntry
from pypid.core.errors import Withheld
from pypid.core.model import File
from pypid.core.packaging.listed_names import version_of
from pypid.core.packaging.names import ProjectName
from pypid.core.restrictions import HoldKind
from pypid.flow import shielded
from pypid.metrics.families import WITHHELD
from pypid.web.app.app import App, user_of
from pypid.web.app.audit import note
from pypid.web.app.request_context import RequestContext
from pypid.web.http.request import UNIX, Request


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
        await app.decided.approvals.request(project, by, version_of(error.filename, project))
    client = f"{user_of(identity)} {request.client_address()}"
    if app.refusal_limit.admits(client, error.filename, app.world.clock.seconds()):
        details = {"project": error.project, "because": error.kind, "reference": error.reference}
        ctx = RequestContext(app, request, identity)
        await shielded(note(ctx, "download refuse", error.filename, details))
