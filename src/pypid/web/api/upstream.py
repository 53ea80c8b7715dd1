"""The settings in force for upstream projects, and whether upstream answers: ``/api/upstream``."""

from __future__ import annotations

from pypid.core.configuration.value_kinds import COOLDOWN, duration_text
from pypid.core.errors import CatalogDown
from pypid.core.permissions import Action
from pypid.core.simple_api.entries import utc_text
from pypid.web.api.machine_documents import UpstreamDocument
from pypid.web.app.descriptions import Described
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import send_json


@route(
    "GET",
    "/api/upstream",
    action=Action.ADMIN,
    describe=Described(UpstreamDocument, refuses=(CatalogDown,)),
)
async def upstream(ctx: RequestContext) -> None:
    """Return the upstream indexes, whether they answer, what may be requested of them, and how much
    is cached.
    """
    policy, breaker = ctx.app.index.policy, ctx.app.index.gate.breaker
    used = await ctx.app.measures.usage.current()
    since = None if breaker.since is None else utc_text(breaker.since)
    document: UpstreamDocument = {
        "mode": policy.mode,
        "indexes": list(ctx.app.settings.indexes),
        "outage": None if breaker.error is None else {"since": since, "error": str(breaker.error)},
        "ttl": duration_text(ctx.app.index.ttl),
        "cooldown": COOLDOWN.show(policy.cooldown),
        "reserved": list(policy.reserved),
        "allow": list(policy.allow),
        "deny": list(policy.deny),
        "blend": list(policy.allow_mixed),
        "limit": ctx.app.settings.max_cache,
        "kept": None if used is None else used.kept,
        "kept_size": None if used is None else used.kept_size,
    }
    send_json(ctx.request, document)
