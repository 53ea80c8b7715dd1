"""Recording of downloads; `web.api.downloads` reports them."""

from __future__ import annotations

from pypid.core.accounts.entries import DownloadEntry
from pypid.core.model import File
from pypid.core.permissions import Identity
from pypid.web.app.app import App, user_of
from pypid.web.app.request_context import RequestContext


def given(ctx: RequestContext, file: File) -> None:
    """Record that the client gets the file, a part of it, or a URL to get it from.

    Parts and interrupted downloads count: a client with all bytes but one has the file. HEAD
    requests do not count, nor does an upstream file without a known digest.
    """
    if ctx.request.method == b"GET":
        note_given(ctx.app, ctx.identity, ctx.request.client_address(), file)


def note_given(app: App, who: Identity, client: str | None, file: File) -> None:
    """Record a download by a client at this address; see `given`."""
    if app.registry is None or file.sha256 is None:
        return
    app.downloads.note(
        DownloadEntry(
            when=app.world.now(),
            sha256=file.sha256,
            project=file.project,
            filename=file.filename,
            who=user_of(who),
            where=client or "",
            token=who.token,
        )
    )
