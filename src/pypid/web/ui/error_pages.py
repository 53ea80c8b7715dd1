"""Errors as HTML pages: what happened, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from attrs import frozen

from pypid.core.errors import (
    IndexExpired,
    LoginRefused,
    NoCsrfToken,
    NoSuchFile,
    NoSuchProject,
    OtherSite,
    Unauthenticated,
)
from pypid.core.permissions import Action
from pypid.web.app.app import App
from pypid.web.app.errors import ErrorResponse
from pypid.web.app.login_redirect import login_address
from pypid.web.app.request_context import RequestContext
from pypid.web.http.request import Request
from pypid.web.ui import documentation
from pypid.web.ui.pages import common, environment


@frozen
class NextStep:
    """A suggestion on an error page: a link, by its path from the root of the index (with
    `of_site`: of the site), or plain text.
    """

    words: str
    path: str | None = None
    of_site: bool = False


def page_of(app: App, request: Request, refusal: ErrorResponse, error: BaseException) -> bytes:
    """Return the error page as bytes of HTML."""
    is_expired = isinstance(error, IndexExpired)
    shown_by = app.original or app if is_expired else app
    values = common(RequestContext(shown_by, request, request.identity))
    if is_expired:  # no link leads into the index
        values |= {"root": values["site"], "index": "", "path": ""}
    text = (
        environment()
        .get_template("error.html")
        .render(
            **values,
            status=refusal.status,
            title=refusal.title,
            lines=[line for line in refusal.text.splitlines() if line.strip()],
            ways=list(_ways(app, request, refusal, error)),
            number=request.id,
        )
    )
    return text.encode("utf-8", "replace")


def _ways(
    app: App, request: Request, refusal: ErrorResponse, error: BaseException
) -> Iterator[NextStep]:
    who = request.identity
    match error:
        case NoCsrfToken():
            yield NextStep(
                "Go back, reload the page and send the form again: you logged in or out while it "
                "was open."
            )
        case NoSuchProject(name=str() as name) if app.may(who, Action.READ, None):
            yield NextStep(f"Search for {name}", f"search?q={quote(name, safe='')}")
        case NoSuchFile() if app.may(who, Action.READ, None):
            yield NextStep("Search the index", "search")
        case _:
            pass
    logging_in_helps = (
        who.user is None and app.registry is not None and not isinstance(error, LoginRefused)
    )
    if isinstance(error, OtherSite):
        yield NextStep("Reload the page from the address of this index and send the form again.")
    elif refusal.status in (401, 403) and logging_in_helps:
        yield NextStep("Log in", login_address(request), of_site=True)
    elif refusal.status == 403 and who.user is not None:
        yield NextStep(
            f"You are logged in as {who.user}. Ask an administrator for access, or log in as "
            "another user."
        )
    if refusal.status in (429, 502, 503, 504):
        yield NextStep("Wait a moment and reload the page.")
    if refusal.status == 500:
        yield NextStep(
            "Try again. If it happens again, give an administrator the number below, which is "
            "in the log."
        )
    if refusal.help is not None and documentation.DOCUMENTATION.is_built:
        yield NextStep("Read about the cause and the fix", refusal.help, of_site=True)
    if not isinstance(error, Unauthenticated):
        yield NextStep("Go to the home page", "")
