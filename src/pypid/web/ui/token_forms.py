"""Tokens on pages: the form for a new one, how to use it, and the lines of a list."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from urllib.parse import urlsplit

import msgspec
from attrs import frozen

from pypid.core.accounts.entries import TOKEN_USER, Token
from pypid.core.errors import BadRequest
from pypid.core.permissions import Action
from pypid.web.api.tokens import ALL, NewToken, State, state_of, words_of
from pypid.web.http.form_fields import Fields

MEANS = {
    "read": "install from here",
    "publish": "upload files",
    "overwrite": "replace published files",
    "delete": "delete files and releases",
    "fetch": "fetch packages from upstream",
    "admin": "administer this index",
    "metrics": "read the metrics",
}
"""The meaning of a token's actions."""
EXPIRES = {
    "30d": "in 30 days",
    "90d": "in 90 days",
    "365d": "in a year",
    "never": "never",
    "own": "on a custom date",
}
"""When a new token expires, by the value of the form."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)
_NOWHERE = "https://INDEX"


@frozen
class TokenLine:
    """A token as a list shows it."""

    id: str
    name: str
    user: str
    actions: list[str]
    projects: tuple[str, ...]
    publisher: bool
    state: State
    created: datetime
    expires: datetime | None
    used: datetime | None
    used_from: str


@frozen
class TokenUse:
    """How to configure a program with the token."""

    program: str
    words: str
    text: str


def lines_of(tokens: Iterable[Token], now: datetime) -> list[TokenLine]:
    """Return the tokens as a list shows them."""
    return [
        TokenLine(
            id=token.id,
            name=token.name,
            user=token.user,
            actions=words_of(token.scope.actions),
            projects=token.scope.projects,
            publisher=token.publisher,
            state=state_of(token, now),
            created=token.created,
            expires=token.expires,
            used=token.used,
            used_from=token.used_from,
        )
        for token in tokens
    ]


def wanted_token(form: Fields) -> NewToken:
    """Return the token that the form requests. Raises `BadRequest`."""
    if not form.text("name").strip():
        raise BadRequest("Give the token a name: what it is for or where it is used.")
    if not form.all("actions"):
        raise BadRequest("Tick at least one permission for the token.")
    document = {
        "name": form.text("name").strip(),
        "actions": list(form.all("actions")),
        "projects": form.text("projects").replace(",", " ").split() or list(ALL),
        "expires": _expiry(form),
    }
    try:
        return msgspec.convert(document, NewToken)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The token is not valid: {error}.") from None


def _expiry(form: Fields) -> str | None:
    chosen = form.text("expires")
    if chosen not in EXPIRES:
        raise BadRequest("Choose when the token expires.")
    if chosen != "own":
        return None if chosen == "never" else chosen
    day = form.text("until").strip()
    if not day:
        raise BadRequest("The token needs an expiry date: choose a date.")
    return f"{day}T23:59:59Z" if _DAY.match(day) else day


def uses_of(base: str | None, secret: str, actions: Collection[Action]) -> list[TokenUse]:
    """Return how to use the token with twine, uv and pip, as far as its actions allow. `base`: the
    index's URL.
    """
    index = base or _NOWHERE
    machine = urlsplit(index).hostname or index
    found = []
    if Action.WRITE in actions:
        pypirc = f"[distutils]\nindex-servers = pypid\n\n[pypid]\nrepository = {index}/legacy/\n"
        pypirc += f"username = {TOKEN_USER}\npassword = {secret}"
        found.append(
            TokenUse(
                "twine", "In ~/.pypirc (chmod 600); then: twine upload -r pypid dist/*", pypirc
            )
        )
        uv = f"export UV_PUBLISH_URL={index}/legacy/\nexport UV_PUBLISH_TOKEN={secret}\nuv publish"
        found.append(
            TokenUse("uv publish", "In the environment; in CI, use a secret variable.", uv)
        )
    if Action.READ in actions:
        netrc = f"machine {machine}\nlogin {TOKEN_USER}\npassword {secret}"
        words = (
            f"In ~/.netrc (chmod 600), which both use; then: pip install --index-url "
            f"{index}/simple/ PROJECT"
        )
        found.append(TokenUse("pip and uv", words, netrc))
    return found
