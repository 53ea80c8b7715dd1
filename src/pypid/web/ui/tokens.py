"""The page of all tokens, for administrators."""

from __future__ import annotations

from pypid.core.permissions import Action, Identity
from pypid.web.api.tokens import revoked
from pypid.web.app.app import App, routes
from pypid.web.app.guard import guarded
from pypid.web.http.form_fields import asked
from pypid.web.http.request import Request
from pypid.web.ui.form_helpers import has_no_accounts, sent
from pypid.web.ui.pages import go, show
from pypid.web.ui.pagination import leaf_of
from pypid.web.ui.token_forms import lines_of

STATES = ("usable", "expired", "revoked", "all")
"""The states to filter by; the first is the default."""


@guarded(routes, "/manage/tokens", may=Action.ADMIN, page=True)
async def tokens(app: App, request: Request, who: Identity) -> None:
    """Show the tokens of all users, the newest first."""
    if await has_no_accounts(app, request, who):
        return
    given = asked(request)
    wanted, state = given.text("q").strip(), given.text("state", STATES[0])
    found = lines_of(await app.accounts.tokens(), app.world.now())[::-1]
    folded = wanted.casefold()
    matching = [
        token
        for token in found
        if state in ("all", token.state)
        and (
            folded in token.user.casefold() or folded in token.name.casefold() or folded == token.id
        )
    ]
    leaf = leaf_of(matching, request, "q", "state")
    await show(
        app, request, who, "tokens.html", tokens=leaf, wanted=wanted, state=state, states=STATES
    )


@guarded(routes, "/manage/tokens/revoke", may=Action.ADMIN, methods=("POST",), page=True, form=True)
async def revoke(app: App, request: Request, who: Identity) -> None:
    """Revoke the token of any user."""
    await revoked(app, request, who, sent(request).text("id"))
    go(request, "manage/tokens", done="token-revoked")
