"""Rendering of pages: templates, forms, long lists, streamed progress.

Rendering of HTML pages: templates, the values that every page has, and headers that allow only
local files.

Stored data is text here: Jinja2 escapes it. The only exception is HTML that was made safe, such as
a README (`marked_up`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import cache, wraps
from gzip import compress
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar
from urllib.parse import quote

from attrs import frozen
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.meta import find_referenced_templates
from markupsafe import Markup, escape

from pypid import __version__
from pypid.core.accounts.sessions import csrf_token
from pypid.core.errors import (
    BadName,
    BadRequest,
    ChangedElsewhere,
    Forbidden,
    IndexExpired,
    IndexInUse,
    LastAdmin,
    LoginRefused,
    NameTaken,
    NoSuchGroup,
    NoSuchIndex,
    NoSuchResource,
    NoSuchUser,
    NotAvailable,
    PypidError,
    RegistrationClosed,
    StorageDown,
    TooManyAttempts,
)
from pypid.core.indexes import PromotionRefused
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.core.simple_api.listed_files import utc_text
from pypid.index.progress import Repeated, Tell
from pypid.web.app.errors import POLICY, refusal_of
from pypid.web.app.login_redirect import root_of, see_other, site_root_of
from pypid.web.app.request_context import RequestContext
from pypid.web.http.form_fields import Fields, query_fields
from pypid.web.http.headers import Encoding, Head, choose_encoding
from pypid.web.http.request import Request
from pypid.web.http.response_body import write
from pypid.web.http.responses import header_of, redirect, set_head
from pypid.web.ui import documentation
from pypid.web.ui.documentation import DIGEST

# Flash messages after a form was carried out: ``?done=`` and one of these words.
#
# No other text of an address is ever shown there.

DONE = {
    "logged-in": "You are logged in.",
    "logged-out": "You are logged out.",
}
"""The message of each word in the address. Other modules add messages when imported (`say`)."""


def say(**words: str) -> None:
    """Add messages; underscores become dashes in the address (``status_set="..."`` is
    ``?done=status-set``).
    """
    for word, text in words.items():
        DONE[word.replace("_", "-")] = text


HTML = b"text/html; charset=utf-8"
SMALL = 1024
"""Bodies of so many bytes or fewer are not compressed."""
LARGE = 1 << 17
"""Bodies of more bytes are compressed in a thread; smaller ones take a millisecond."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@cache
def environment() -> Environment:
    """Return the templates, loaded once; an undefined name is an error, not an empty text."""
    made = Environment(
        loader=PackageLoader("pypid.web.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.do"],
    )
    made.filters.update(when=when, size=size, count=count, part=part, day=day)
    made.globals.update(version=__version__, digest=DIGEST)
    return made


_compiled: set[str] = set()
"""Names of the templates that are compiled, with all that they include."""


async def show(
    ctx: RequestContext,
    template: str,
    *,
    status: int = 200,
    error: PypidError | None = None,
    **values: Any,
) -> None:
    """Send the page: the template, rendered with `values` and those of every page (`common`).

    `error`: why the form that the client sent is shown again. The template has its messages as
    `problems`, and the form as `said_before`, which is empty without an error.
    """
    problems, said_before = list[str](), Fields()
    if error is not None:
        status, problems = refused(ctx.request, error)
        said_before = sent(ctx.request)
    if template not in _compiled:  # takes a tenth of a second, the first time
        await ctx.app.world.blocking(_compile, template)
    page = environment().get_template(template)
    text = page.render(**common(ctx), problems=problems, said_before=said_before, **values)
    await send_html(ctx, text, status=status)


def _compile(template: str) -> None:
    """Compile the template and those that it refers to. Blocks."""
    made, needed, seen = environment(), {template}, set[str]()
    while needed - seen:
        name = (needed - seen).pop()
        seen.add(name)
        if made.loader is not None and name not in _compiled:
            source, *_ = made.loader.get_source(made, name)
            made.get_template(name)
            needed |= {found for found in find_referenced_templates(made.parse(source)) if found}
    _compiled.update(seen)


async def send_html(ctx: RequestContext, text: str, *, status: int = 200) -> None:
    """Send the text of a page; browsers revalidate it, or do not store it (`page_head`)."""
    body, zips = text.encode("utf-8", "replace"), _zips(ctx.request)
    plain = len(body)
    if zips and plain > SMALL:
        body = (
            compress(body, 5, mtime=0)
            if plain <= LARGE
            else await ctx.app.world.blocking(compress, body, 5)
        )
    head: Head = (*page_head(ctx.request), (b"Content-Length", b"%d" % len(body)))
    if zips and plain > SMALL:
        head = (*head, (b"Content-Encoding", b"gzip"))
    set_head(ctx.request, status, head)
    write(ctx.request, body)


def page_head(request: Request) -> Head:
    """Return the headers of a page but its length. Pages of a logged-in user are stored nowhere,
    also not for the back button.
    """
    keep = b"private, no-cache" if request.identity.user is None else b"private, no-store"
    return (
        (b"Content-Type", HTML),
        (b"Cache-Control", keep),
        (b"Vary", b"Cookie, Accept-Encoding"),
        (b"Content-Security-Policy", POLICY),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Referrer-Policy", b"same-origin"),
        (b"Cross-Origin-Opener-Policy", b"same-origin"),
    )


def common(ctx: RequestContext) -> dict[str, Any]:
    """Return the values that the layout, and so every page, needs."""
    return {
        "root": root_of(ctx.request),
        "site": site_root_of(ctx.request),
        "index": ctx.request.index,
        "readable_indexes": _readable_indexes(ctx),
        "path": path_of(ctx.request),
        "who": ctx.identity,
        "is_admin": ctx.app.closed is None and ctx.is_admin,
        "may_publish": ctx.app.closed is None and ctx.may_some(Action.WRITE),
        "may_read": ctx.app.closed is None and ctx.may_some(Action.READ),
        "has_accounts": ctx.app.registry is not None,
        "has_docs": documentation.DOCUMENTATION.is_built,
        "has_advisories": ctx.app.advisories.is_configured,
        "csrf": "" if ctx.request.session is None else csrf_token(ctx.request.session),
        "said": DONE.get(query_fields(ctx.request).text("done"), ""),
        "query": query_fields(ctx.request).text("q") if path_of(ctx.request) == "search" else "",
        "now": ctx.app.world.now(),
    }


def _readable_indexes(ctx: RequestContext) -> tuple[str, ...]:
    """Return the names of the indexes that the user may read and that have not expired; "" stands
    for the default index.
    """
    app = ctx.app.original or ctx.app
    settings = app.indexes.settings
    if app.closed is not None or not settings:
        return ()
    default = ("",) if ctx.may_some(Action.READ, "") else ()
    now, names = app.world.now(), app.readable_indexes(ctx.identity)
    return (*default, *(name for name in names if not settings[name].has_expired(now)))


def go(request: Request, where: str, *, done: str | None = None, **parameters: str) -> None:
    """Redirect to a local page, by its path from the root (``project/spam/``), after a form (303).

    `done`: a word of `DONE`, whose message that page shows; `parameters`: other query
    parameters.
    """
    pairs = {**parameters, **({} if done is None else {"done": done})}
    query = "&".join(
        f"{quote(name, safe='')}={quote(text, safe='')}" for name, text in pairs.items()
    )
    path, _, fragment = where.partition("#")
    see_other(request, path + (f"?{query}" if query else "") + (f"#{fragment}" if fragment else ""))


def path_of(request: Request) -> str:
    """Return the requested path below the root of its index, without its query:
    ``project/spam/``.
    """
    return bytes(request.path).decode("latin-1").lstrip("/")


def part(text: str) -> str:
    """Return a text quoted as one part of a path, or as the value of a parameter."""
    return quote(text, safe="")


def marked_up(safe: str) -> Markup:
    """Return HTML as `Markup`. It must have been made safe, by `pypid.rendering` or a template."""
    return Markup(safe)


def when(moment: datetime | None) -> Markup:
    """Return a time to the minute, in UTC: ``22 Nov 2026 11:02``; the exact one is an attribute."""
    return _moment(moment, lambda utc: f"{utc.day} {utc:%b %Y %H:%M}")


def day(moment: datetime | None) -> Markup:
    """Return a time to the day: ``22 Nov 2026``."""
    return _moment(moment, lambda utc: f"{utc.day} {utc:%b %Y}")


def _moment(moment: datetime | None, words: Callable[[datetime], str]) -> Markup:
    if moment is None:
        return Markup('<span class="dim">unknown</span>')
    utc = moment.astimezone(UTC)
    text = Markup('<time datetime="{}" title="{} UTC">{}</time>')
    return text.format(utc_text(utc), f"{utc:%Y-%m-%d %H:%M:%S}", words(utc))


def size(count: int | None) -> str:
    """Return a number of bytes in readable form: ``12.3 KiB``."""
    if count is None:
        return "unknown"
    number, unit = float(count), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{number:.1f} {_UNITS[unit]}"


def count(number: int, one: str = "", many: str = "") -> str:
    """Return a number with thousands separators, and its noun: ``1 file``, ``12,300 files``."""
    if not one:
        return f"{number:,}"
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _zips(request: Request) -> bool:
    """Return whether the response is compressed.

    Not if the CSRF token is in one page with words of the address, which any link can set: the
    length of both, compressed together, would tell an observer how much they have in common
    (BREACH, CVE-2013-3587).
    """
    if request.session is not None and b"?" in request.uri:
        return False
    return choose_encoding(header_of(request, "accept-encoding")) is Encoding.GZIP


# Helpers of pages with forms: the fields sent, the errors, and words typed for confirmation.

MISTAKES = (
    BadRequest,
    BadName,
    NameTaken,
    NoSuchUser,
    NoSuchGroup,
    NoSuchResource,
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
    NameTaken,
    NoSuchIndex,
    NotAvailable,
    PromotionRefused,
)
"""The same for the forms of indexes."""


def sent(request: Request) -> Fields:
    """Return the form that the guard has read."""
    return request.form or Fields()


def refused(request: Request, error: PypidError) -> tuple[int, list[str]]:
    """Return the status and the messages for the page that shows the form again; sets the headers
    of the error response.
    """
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


P = ParamSpec("P")


def needs_accounts(
    handler: Callable[Concatenate[RequestContext, P], Awaitable[None]],
) -> Callable[Concatenate[RequestContext, P], Awaitable[None]]:
    """Return the handler for a page of accounts: without an accounts database, a page that says so
    is sent.
    """

    @wraps(handler)
    async def answer(ctx: RequestContext, /, *args: P.args, **values: P.kwargs) -> None:
        if ctx.app.registry is None:
            return await show(ctx, "no_accounts.html")
        return await handler(ctx, *args, **values)

    return answer


def canonical(path: str) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Any]]:
    """Return a decorator for handlers of pages of a project: other spellings of its name, and of
    the end of the path, are redirected to this one.
    """

    def decorate(handler: Callable[..., Awaitable[None]]) -> Callable[..., Any]:
        @wraps(handler)
        async def answer(ctx: RequestContext, project: ProjectName, **values: str) -> None:
            has_slash = ctx.request.path.endswith(b"/")
            if ctx.spelling != project or has_slash != path.endswith("/"):
                quoted = {name: part(text) for name, text in values.items()}
                target = path.format(project=project, **quoted)
                restricted = ctx.app.restricted
                return redirect(ctx.request, target, permanent=True, restricted=restricted)
            return await handler(ctx, project, **values)

        return answer

    return decorate


# Pagination of long lists: ``?page=2``.

T = TypeVar("T")

LINES = 100
"""Number of lines of a list on one page."""


@frozen
class ListSlice(Generic[T]):
    """The lines of one page of a list; `link` is the list's address without the page number."""

    lines: Sequence[T]
    total: int
    page: int
    pages: int
    link: str


def page_number(text: str, pages: int) -> int:
    """Return the number of the requested page; an invalid one counts as 1, one beyond the last as
    the last.
    """
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1
    return min(max(1, number), pages)


def leaf_of(lines: Sequence[T], request: Request, *filters: str, most: int = LINES) -> ListSlice[T]:
    """Return the requested page of the list, by ``page=``; `filters` are the other parameters that
    narrow the list.
    """
    query = query_fields(request)
    pages = max(1, -(-len(lines) // most))
    page = page_number(query.text("page"), pages)
    kept = "".join(
        f"{name}={quote(query.text(name), safe='')}&" for name in filters if query.text(name)
    )
    return ListSlice(lines[(page - 1) * most : page * most], len(lines), page, pages, f"?{kept}")


# A page that is streamed while a job runs: its head, a line for each progress message, and the
# result.
#
# It needs no script: a browser shows what has arrived, and the page is complete when the job ends.

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
