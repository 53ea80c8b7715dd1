"""The home page and the search page."""

from __future__ import annotations

from urllib.parse import urlencode

from pypid.core.errors import BadRequest, ListIncomplete
from pypid.core.permissions import Action
from pypid.core.presentation.client_files import FILES, to_install, to_publish
from pypid.core.search import SearchQuery
from pypid.search.search import FARTHEST
from pypid.web.api.indexes import readable_bases
from pypid.web.api.projects import FEW, SearchDocument, latest, newest_projects, results
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import query_fields
from pypid.web.installers.services import place_of
from pypid.web.ui.pages import page_number, show

RELEASES, PROJECTS = 10, 6
"""Number of lines of the lists."""


@route("GET", "/", action=Action.READ, page=True, below_index=True)
async def home(ctx: RequestContext) -> None:
    """Show new releases and projects, and the commands to connect, for this host and the client's
    user.
    """
    place = await place_of(ctx)
    try:
        count, releases, new = (
            len(await ctx.app.names(ctx.identity)),
            await latest(ctx, RELEASES),
            await newest_projects(ctx, PROJECTS),
        )
    except ListIncomplete:
        count, releases, new = None, (), ()
    app = ctx.app.original or ctx.app
    named = app.indexes.settings.get(ctx.request.index)
    await show(
        ctx,
        "home.html",
        named=named,
        bases=() if named is None else readable_bases(ctx, named),
        projects=count,
        releases=releases,
        new=new,
        installing=() if place is None else to_install(place, ctx.identity.user),
        publishing=() if place is None else to_publish(place, ctx.identity.user),
        files=tuple(FILES),
        has_ca=place is not None and place.ca,
    )


# The search page: words, filters and results; its script searches while the user types.

FILTERS = ("source", "python", "license", "classifier")
PYTHONS = tuple(f"3.{minor}" for minor in range(15, 7, -1))
"""The versions that are offered; others may be typed."""
NONE = SearchDocument([], 0, 1, 1, 0)


@route("GET", "/search", action=Action.READ, page=True, below_index=True)
async def search(ctx: RequestContext) -> None:
    """Show the search form and its results."""
    fields = query_fields(ctx.request)
    typed = {name: fields.text(name).strip() for name in ("q", *FILTERS, "advisories")}
    only = typed["advisories"] == "yes"
    page, wrong = page_number(fields.text("page"), FARTHEST // FEW), None
    try:
        query = SearchQuery.read(typed["q"], **{name: typed[name] for name in FILTERS})
    except ValueError as error:
        wrong = BadRequest(str(error))
        found = NONE
    else:
        found = await results(ctx, query, page, with_advisories=only)
        if page > found.pages:
            found = await results(ctx, query, found.pages, with_advisories=only)
    link = urlencode({name: value for name, value in typed.items() if value})
    await show(
        ctx,
        "search.html",
        error=wrong,
        typed=typed,
        found=found,
        filtered=only or any(typed[name] for name in FILTERS),
        pythons=PYTHONS,
        link=f"?{link}&" if link else "?",
    )
