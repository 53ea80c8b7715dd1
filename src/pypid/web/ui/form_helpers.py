"""What pages with forms have in common: what was sent, what was wrong with it, and words that have
to be typed.
"""

from __future__ import annotations

from pypid.core.errors import (
    BadName,
    BadRequest,
    ChangedElsewhere,
    LastAdmin,
    LoginRefused,
    NameTaken,
    NoSuchGroup,
    NoSuchUser,
    PypidError,
    RegistrationClosed,
    TooManyAttempts,
)
from pypid.core.permissions import Identity
from pypid.web.app.app import App
from pypid.web.app.errors import refusal_of
from pypid.web.http.form_fields import Fields
from pypid.web.http.request import Request
from pypid.web.ui.pages import show

MISTAKES = (
    BadRequest,
    BadName,
    NameTaken,
    NoSuchUser,
    NoSuchGroup,
    LastAdmin,
    ChangedElsewhere,
    LoginRefused,
    RegistrationClosed,
    TooManyAttempts,
)
"""What a form is shown again for, with what is wrong above it."""


def sent(request: Request) -> Fields:
    """The form that the guard has read."""
    return request.form or Fields()


def refused(request: Request, error: PypidError) -> tuple[int, list[str]]:
    """The status of the page that shows the form again, and what it says; fields of the answer's
    head are set.
    """
    refusal = refusal_of(error, b"POST")
    if refusal is None:
        raise error
    for name, value in refusal.head:
        request.responseHeaders.setRawHeaders(name, [value])
    return refusal.status, [line for line in refusal.text.splitlines() if line.strip()]


def demand_typed(said: Fields, word: str) -> None:
    """Raise `BadRequest` unless the word was typed that confirms what cannot be undone."""
    if said.text("confirm").strip() != word:
        raise BadRequest(f"Nothing was changed. To confirm it, type {word} into the field.")


async def has_no_accounts(face: App, request: Request, who: Identity) -> bool:
    """Whether this pypid writes no people down; then a page has said so."""
    if face.registry is not None:
        return False
    await show(face, request, who, "no_accounts.html")
    return True
