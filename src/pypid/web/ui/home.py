"""The home page: new releases and projects, and how to configure clients for this index."""

from __future__ import annotations

from pypid.core.errors import ListIncomplete
from pypid.core.permissions import Action
from pypid.core.presentation.client_files import FILES
from pypid.core.presentation.snippets import to_install, to_publish
from pypid.web.api.indexes import readable_bases
from pypid.web.api.news import latest, projects
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.installers.client_files import place_of
from pypid.web.ui.pages import show

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
            await projects(ctx, PROJECTS),
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
