"""The page of all tokens, for administrators."""

from __future__ import annotations

from pypid.core.permissions import Action, Identity
from pypid.web.api.tokens import revoked
from pypid.web.app.app import App, app
from pypid.web.app.guard import guarded
from pypid.web.http.form_fields import asked
from pypid.web.http.request import Request
from pypid.web.ui.form_helpers import has_no_accounts, sent
from pypid.web.ui.pages import go, show
from pypid.web.ui.pagination import leaf_of
from pypid.web.ui.token_forms import lines_of

STATES = ("usable", "expired", "revoked", "all")
"""The states to filter by; the first is the default."""


@guarded(app, "/manage/tokens", may=Action.ADMIN, page=True)
async def tokens(face: App, request: Request, who: Identity) -> None:
    """Show the tokens of all users, the newest first."""
    if await has_no_accounts(face, request, who):
        return
    given = asked(request)
    wanted, state = given.text("q").strip(), given.text("state", STATES[0])
    found = lines_of(await face.accounts.tokens(), face.world.now())[::-1]
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
        face, request, who, "tokens.html", tokens=leaf, wanted=wanted, state=state, states=STATES
    )


@guarded(app, "/manage/tokens/revoke", may=Action.ADMIN, methods=("POST",), page=True, form=True)
async def revoke(face: App, request: Request, who: Identity) -> None:
    """Revoke the token of any user."""
    await revoked(face, request, who, sent(request).text("id"))
    go(request, "manage/tokens", done="token-revoked")
