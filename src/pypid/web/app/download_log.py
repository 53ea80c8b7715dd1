"""Recording of downloads; `web.api.downloads` reports them."""

from __future__ import annotations

from pypid.core.accounts.entries import DownloadEntry
from pypid.core.model import File
from pypid.web.app.request_context import RequestContext


def record_download(ctx: RequestContext, file: File) -> None:
    """Record that the client gets the file, a part of it, or a URL to get it from.

    Parts and interrupted downloads count: a client with all bytes but one has the file. HEAD
    requests do not count, nor does an upstream file without a known digest.
    """
    app, request = ctx.app, ctx.request
    if request.method == b"GET" and app.registry is not None and file.sha256 is not None:
        app.downloads.note(
            DownloadEntry.of(file, ctx.identity, request.client_address(), app.world.now())
        )
