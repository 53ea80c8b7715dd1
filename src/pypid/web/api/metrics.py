"""``GET /metrics``, which Prometheus reads. It never contains the name of a project, a file or a
person.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pypid import __version__
from pypid.core.errors import CatalogDown, StorageDown
from pypid.core.permissions import Action
from pypid.metrics.counts import (
    BUILD,
    INDEX_BYTES,
    INDEX_FILES,
    INDEXES,
    PROJECTS,
    WAITING_PROJECTS,
)
from pypid.web.app.app import App
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.responses import header_of
from pypid.web.http.small_responses import send

if TYPE_CHECKING:
    from pypid.metrics.worker_metrics import WorkerMetrics

_PYTHON = ".".join(map(str, sys.version_info[:3]))


@route("GET", "/metrics", action=Action.METRICS)
async def metrics(ctx: RequestContext) -> None:
    """Return the metrics of all workers in Prometheus' text format, or as OpenMetrics if the client
    accepts it.
    """
    counts = ctx.app.world.counts
    counts.set(BUILD, (__version__, _PYTHON), 1)
    if ctx.app.decided is not None:
        counts.set(WAITING_PROJECTS, (), len(ctx.app.decided.approvals.waiting()))
    try:
        counts.set(PROJECTS, ("ours",), len(await ctx.app.index.catalog.local.summaries()))
        caches = ctx.app.index.caches.values()
        cached = [len(await cache.catalog.upstream.summaries()) for cache in caches]
        counts.set(PROJECTS, ("theirs",), sum(cached))
        await _count_indexes(ctx.app)
    except CatalogDown:  # the last values are reported, and that the catalog is unreachable
        pass
    try:
        here, counted = await ctx.app.measured()
    except OSError as error:
        raise StorageDown(
            "what the workers have counted cannot be written down, or read."
        ) from error
    page, content_type = await ctx.app.world.blocking(
        _page, counted, here, header_of(ctx.request, "accept") or ""
    )
    send(ctx.request, 200, content_type, page)


async def _count_indexes(app: App) -> None:
    """Set the numbers of named indexes. They have no labels while all users may read the metrics,
    since their names are private.
    """
    settings, counts = app.indexes.settings, app.world.counts
    counts.set(INDEXES, (), len(settings))
    readers = app.defaults["metrics"]
    is_public = readers.everyone or readers.authenticated
    used = await app.measures.used_by_index() if settings and not is_public else {}
    counts.reset(INDEX_FILES)
    counts.reset(INDEX_BYTES)
    for name, each in used.items():
        if name in settings:
            counts.set(INDEX_FILES, (name,), each.files)
            counts.set(INDEX_BYTES, (name,), each.size)


def _page(counted: Sequence[WorkerMetrics], here: str, accept: str) -> tuple[bytes, str]:
    """Return the page and its content type. Blocks: imports Prometheus' library, and asks the
    kernel for memory and open files.
    """
    from pypid.metrics.exposition import page

    return page(counted, here, accept)
