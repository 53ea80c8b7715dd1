"""``/health`` and ``/ready``, for monitors and load balancers."""

from __future__ import annotations

from pypid.web.app.app import App
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, route
from pypid.web.http.responses import set_head
from pypid.web.http.small_responses import send_json

AGAIN = 5
"""Seconds after which a client should ask again (``Retry-After``)."""


@route("GET", "/health", action=ANYBODY)
async def health(ctx: RequestContext) -> None:
    """Answer 200 as long as the process runs, with the condition of its parts and the progress of a
    reconcile.
    """
    send_json(ctx.request, {"status": "ok", **condition_of(ctx.app)})


@route("GET", "/ready", action=ANYBODY)
async def ready(ctx: RequestContext) -> None:
    """Answer 200 while clients should be sent here, 503 while they should be sent to another
    server, if there is one.
    """
    report = condition_of(ctx.app)
    if report["ready"]:
        return send_json(ctx.request, {"status": "ok", **report})
    set_head(ctx.request, 503, ((b"Retry-After", b"%d" % AGAIN),))
    return send_json(ctx.request, {"status": "unavailable", **report}, 503)


def condition_of(app: App) -> dict[str, object]:
    """Return the last known condition of the parts: waits for none of them, and does not disclose
    where they are.
    """
    condition, under_way = app.condition, app.index.maintenance.comparing
    access = condition.access() and app.closed is None
    cache, storage = condition.cache(), condition.storage()
    # without a login no accounts are needed; and an unreachable catalog shows for a while what it
    # held
    needs_accounts = app.lacks_rights or app.needs_login("")
    readable = storage and condition.shows() and (access or not needs_accounts)
    report: dict[str, object] = {
        "ready": readable and not condition.stopping,
        "access": access,
        "cache": cache,
        "storage": storage,
        "complete": app.index.catalog.was_complete,
    }
    if under_way is not None:
        report["comparing"] = {"objects": under_way.objects, "projects": under_way.projects}
    if differs := sorted(condition.differs()):
        report["differs"] = differs
    if app.closed is not None:
        report["starting"] = True
    if condition.stopping:
        report["stopping"] = True
    return report
