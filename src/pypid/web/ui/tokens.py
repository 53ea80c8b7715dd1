"""The page of all tokens, for administrators."""

from __future__ import annotations

from pypid.core.permissions import Action
from pypid.web.api.tokens import revoked
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import query_fields
from pypid.web.ui.form_helpers import has_no_accounts, sent
from pypid.web.ui.pages import go, show
from pypid.web.ui.pagination import leaf_of
from pypid.web.ui.token_forms import lines_of

STATES = ("usable", "expired", "revoked", "all")
"""The states to filter by; the first is the default."""


@route("GET", "/manage/tokens", action=Action.ADMIN, page=True)
async def tokens(ctx: RequestContext) -> None:
    """Show the tokens of all users, the newest first."""
    if await has_no_accounts(ctx):
        return
    query = query_fields(ctx.request)
    wanted, state = query.text("q").strip(), query.text("state", STATES[0])
    found = lines_of(await ctx.app.accounts.tokens(), ctx.app.world.now())[::-1]
    folded = wanted.casefold()
    matching = [
        token
        for token in found
        if state in ("all", token.state)
        and (
            folded in token.user.casefold() or folded in token.name.casefold() or folded == token.id
        )
    ]
    leaf = leaf_of(matching, ctx.request, "q", "state")
    await show(ctx, "tokens.html", tokens=leaf, wanted=wanted, state=state, states=STATES)


@route("POST", "/manage/tokens/revoke", action=Action.ADMIN, page=True, form=True)
async def revoke(ctx: RequestContext) -> None:
    """Revoke the token of any user."""
    await revoked(ctx, sent(ctx.request).text("id"))
    go(ctx.request, "manage/tokens", done="token-revoked")
