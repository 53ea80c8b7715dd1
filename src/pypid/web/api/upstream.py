"""The settings in force for upstream projects, and whether upstream answers: ``/api/upstream``."""

from __future__ import annotations

from pypid.core.configuration.value_kinds import COOLDOWN, duration_text
from pypid.core.errors import CatalogDown
from pypid.core.permissions import Action
from pypid.core.simple_api.entries import utc_text
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.web.api.machine_documents import (
    NamedUpstreamDocument,
    OutageDocument,
    UpstreamDocument,
)
from pypid.web.app.app import App
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
    index = ctx.app.index
    policy = index.policy
    used = await ctx.app.measures.usage.current()
    document: UpstreamDocument = {
        "mode": policy.mode,
        "indexes": list(ctx.app.settings.indexes),
        "outage": outage_of(index.gate.breaker),
        "ttl": duration_text(index.ttl),
        "cooldown": COOLDOWN.show(policy.cooldown),
        "reserved": list(policy.reserved),
        "allow": list(policy.allow),
        "deny": list(policy.deny),
        "blend": list(policy.allow_mixed),
        "limit": ctx.app.settings.max_cache,
        "kept": None if used is None else used.kept,
        "kept_size": None if used is None else used.kept_size,
        "upstreams": await named_upstreams(ctx.app),
        "order": list(index.choice.names),
    }
    send_json(ctx.request, document)


async def named_upstreams(app: App) -> list[NamedUpstreamDocument]:
    """Return the further upstreams. Raises `CatalogDown`."""
    return [await _named(app, name) for name in app.index.upstreams]


async def _named(app: App, name: str) -> NamedUpstreamDocument:
    index, used = app.index.upstreams[name], await app.measures.of_upstream(name).current()
    return {
        "name": name,
        "indexes": list(app.settings.named_upstreams.get(name, ())),
        "only": list(index.policy.only),
        "outage": outage_of(index.gate.breaker),
        "ttl": duration_text(index.ttl),
        "cooldown": COOLDOWN.show(index.policy.cooldown),
        "kept": None if used is None else used.kept,
        "kept_size": None if used is None else used.kept_size,
    }


def outage_of(breaker: CircuitBreaker) -> OutageDocument | None:
    """Return the outage of an upstream, or None."""
    if breaker.error is None:
        return None
    since = None if breaker.since is None else utc_text(breaker.since)
    return {"since": since, "error": str(breaker.error)}
