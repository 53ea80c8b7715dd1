"""Helpers of pages with forms: the fields sent, the errors, and words typed for confirmation."""

from __future__ import annotations

from pypid.core.errors import (
    BadName,
    BadRequest,
    ChangedElsewhere,
    Forbidden,
    IndexExpired,
    IndexInUse,
    IndexNotEmpty,
    LastAdmin,
    LoginRefused,
    NameTaken,
    NoSuchGroup,
    NoSuchIndex,
    NoSuchUser,
    NotAvailable,
    PypidError,
    RegistrationClosed,
    TooManyAttempts,
)
from pypid.core.promotion_rules import PromotionRefused
from pypid.web.app.errors import refusal_of
from pypid.web.app.request_context import RequestContext
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
"""Errors for which the form is shown again, with the reason above it."""
INDEX_MISTAKES = (
    BadRequest,
    ChangedElsewhere,
    Forbidden,
    IndexExpired,
    IndexInUse,
    IndexNotEmpty,
    NameTaken,
    NoSuchIndex,
    NotAvailable,
    PromotionRefused,
)
"""The same for the forms of indexes."""


def sent(request: Request) -> Fields:
    """Return the form that the guard has read."""
    return request.form or Fields()


def refused(request: Request, error: PypidError | None) -> tuple[int, list[str]]:
    """Return the status and the messages for the page that shows the form again; sets the headers
    of the error response. Without an error: 200, and no message.
    """
    if error is None:
        return 200, []
    refusal = refusal_of(error, b"POST")
    if refusal is None:
        raise error
    for name, value in refusal.head:
        request.responseHeaders.setRawHeaders(name, [value])
    return refusal.status, [line for line in refusal.text.splitlines() if line.strip()]


def demand_typed(form: Fields, word: str) -> None:
    """Raise `BadRequest` unless the word was typed that confirms an irreversible change."""
    if form.text("confirm").strip() != word:
        raise BadRequest(f"Nothing was changed. To confirm, type {word} into the field.")


async def has_no_accounts(ctx: RequestContext) -> bool:
    """Return whether this pypid has no accounts database; if so, a page that says it was sent."""
    if ctx.app.registry is not None:
        return False
    await show(ctx, "no_accounts.html")
    return True
