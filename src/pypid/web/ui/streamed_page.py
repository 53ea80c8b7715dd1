"""A page that is streamed while a job runs: its head, a line for each progress message, and the
result.

It needs no script: a browser shows what has arrived, and the page is complete when the job ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from markupsafe import escape

from pypid.core.errors import PypidError, StorageDown
from pypid.index.progress import Repeated, Tell
from pypid.web.app.request_context import RequestContext
from pypid.web.http.request import Request
from pypid.web.http.response_body import write
from pypid.web.http.responses import set_head
from pypid.web.ui.pages import common, environment, page_head

HERE = "<!-- it goes on -->"
"""Marks in the template where the lines go; it cannot be in any text, which is escaped."""
LEAST = 4096
"""Bytes after which every browser begins to show a page."""
STILL = 10.0
"""Seconds between two keep-alive bytes, so that no proxy times out."""


async def show_meanwhile(
    ctx: RequestContext,
    template: str,
    run: Callable[[Tell], Awaitable[Any]],
    **values: Any,
) -> None:
    """Send the page: the part before `HERE` at once, and the rest when `run` has ended.

    The template is given `came`, what `run` returned (None: not yet, or it failed), and `problems`,
    why it failed. If the client disconnects, `run` is cancelled, as everywhere.
    """

    def page(came: Any, problems: list[str]) -> tuple[str, str]:
        variables = {**common(ctx), **values}
        text = (
            environment().get_template(template).render(**variables, came=came, problems=problems)
        )
        before, _, after = text.partition(HERE)
        return before, after

    before, _ = page(None, [])
    head = (
        *page_head(ctx.request),
        (b"X-Accel-Buffering", b"no"),
    )  # nginx would hold it back until the end
    set_head(ctx.request, 200, head)
    _say(ctx.request, before + " " * max(0, LEAST - len(before)) + "\n")
    came, problems = None, []
    try:
        with Repeated(ctx.app.world.clock, STILL, lambda: _say(ctx.request, "\n")):
            came = await run(lambda message: _say(ctx.request, f"<li>{escape(message)}</li>\n"))
    except PypidError as error:
        if isinstance(error, StorageDown):
            ctx.app.condition.doubt()
        problems = [line for line in str(error).splitlines() if line.strip()]
    _say(ctx.request, page(came, problems)[1])


def _say(request: Request, text: str) -> None:
    """Send some of the page, unless the client has disconnected."""
    if request.channel is not None:
        write(request, text.encode("utf-8", "replace"))
