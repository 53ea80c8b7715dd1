"""``GET /api/search``: projects that match a query, best first; the search page uses the same
results.
"""

from __future__ import annotations

import msgspec
from attrs import frozen

from pypid.core.accounts.client_networks import place_of
from pypid.core.errors import BadRequest, Busy
from pypid.core.permissions import Action
from pypid.core.search.ranking import FoundProject, SearchQuery, SearchResults
from pypid.core.simple_api.entries import plain, utc_text
from pypid.core.visibility import Visibility
from pypid.search.search import FARTHEST, MOST
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.query import Parameter, flag, names, number, parameters
from pypid.web.http.small_responses import send_json

FEW = 20
"""Projects on a page of the answer, unless the client says how many."""
PYTHON = r"^[23](\.[0-9]{1,2}(\.[0-9]{1,3})?)?$"
ASKS = (
    Parameter(
        "q",
        (
            "Words to search for, in names, summaries and keywords. Without it: all projects "
            "that match the filters."
        ),
    ),
    Parameter(
        "source",
        "Only local projects (`ours`), or only those with cached files (`upstream`).",
        {"enum": ["", "ours", "upstream"]},
    ),
    Parameter(
        "python",
        "Only projects that run on this version of Python, such as 3.12.",
        {"type": "string", "pattern": f"^$|{PYTHON}"},
    ),
    Parameter("license", "Words of the licence."),
    Parameter("classifier", "A classifier, or its beginning up to one of its ``::``."),
    Parameter(
        "advisories",
        "Only projects with an advisory that affects a stored file.",
        {"enum": ["", "yes", "no"], "default": "no"},
    ),
    Parameter("page", "The number of the page.", {"type": "integer", "minimum": 1, "default": 1}),
    Parameter(
        "most",
        "The number of projects on a page.",
        {"type": "integer", "minimum": 1, "maximum": MOST, "default": FEW},
    ),
)


class FoundDocument(msgspec.Struct):
    """A project. `updated`: when its last file was uploaded, if known."""

    name: str
    version: str
    summary: str
    source: str
    updated: Moment | None
    keywords: list[str]


class SearchDocument(msgspec.Struct):
    """The matching projects, best first. `unread`: how many projects have metadata that was not
    read yet.
    """

    found: list[FoundDocument]
    total: int
    page: int
    pages: int
    unread: int


@frozen
class Results:
    """A page of search results."""

    found: tuple[FoundProject, ...]
    total: int
    page: int
    pages: int
    unread: int


async def results(
    ctx: RequestContext,
    query: SearchQuery,
    page: int,
    most: int = FEW,
    *,
    with_advisories: bool = False,
) -> Results:
    """Return a page of the results that the user may see. Raises `Busy`."""
    search, place = ctx.app.search, place_of(ctx.request.client_address() or "")

    async def found(by: Visibility) -> SearchResults:
        if with_advisories:  # sees nothing else
            names = await ctx.app.hosted_advisories.projects(by)
            by = Visibility(usual=False, others=names, bases=by.bases)
        return await search.find(query, by, most=most, skip=(page - 1) * most, place=place)

    findings = await ctx.listed(found)
    pages = max(1, min(-(-findings.total // most), FARTHEST // most))
    return Results(findings.found, findings.total, page, pages, findings.unread)


@route(
    "GET",
    "/api/search",
    action=Action.READ,
    describe=Described(SearchDocument, asks=ASKS, refuses=(Busy,)),
    below_index=True,
)
async def searched(ctx: RequestContext) -> None:
    """Search the stored projects that the user may read, best match first."""
    fields = parameters(ctx.request, *names(ASKS))
    most = number(fields, "most", 1, MOST) or FEW
    page = number(fields, "page", 1, FARTHEST // most) or 1
    filters = {name: fields.get(name, "") for name in ("source", "python", "license", "classifier")}
    try:
        query = SearchQuery.read(fields.get("q", ""), **filters)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    only = flag(fields, "advisories")
    found = await results(ctx, query, page, most, with_advisories=only)
    documents = [
        FoundDocument(
            name=each.name,
            version=each.version,
            summary=plain(each.summary),
            source="ours" if each.ours else "upstream",
            updated=None if each.updated is None else utc_text(each.updated),
            keywords=[plain(keyword) for keyword in each.keywords],
        )
        for each in found.found
    ]
    document = SearchDocument(
        found=documents,
        total=found.total,
        page=found.page,
        pages=found.pages,
        unread=found.unread,
    )
    send_json(ctx.request, document)
