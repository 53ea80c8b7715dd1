"""The contents of a file: the list of its members, and a member as text with line numbers.

Only text of an archive comes into a page, and no characters that change its direction or are
invisible (`core.archives.contents.visible`).
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from pypid.core.archives.contents import (
    ArchiveFolder,
    Inner,
    MemberListing,
    OpenedMember,
    look_in,
    visible,
)
from pypid.core.archives.tars import TarKind
from pypid.core.errors import NoSuchMember, Opaque
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.web.api.approvals import judged_project
from pypid.web.api.contents import text_of
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import query_fields
from pypid.web.http.redirects import redirect
from pypid.web.ui.pages import part, show
from pypid.web.ui.pagination import ListSlice, leaf_of

MEMBERS, LINES = 200, 1000
"""Maximum number of members, and of lines, on one page."""
FEW_MEMBERS = 2000
"""Number of members that are sorted into folders in the reactor thread; more take some
milliseconds.
"""
LONGEST_LINE = 2000
"""Number of characters of a line that are shown."""


@frozen
class ContentsEntry:
    """A line of a list: the query parameter that opens it (``path`` or ``in``), its path, and the
    name shown; sizes in bytes.

    `members`: of a folder; `mark`: the kind of a member that is no file.
    """

    by: str
    path: str
    name: str
    size: int
    members: int = 0
    mark: str = ""


@frozen
class ShownMember:
    """A member as a page shows it. `lines` of the text, with invisible characters spelled out;
    None: it is no text.
    """

    lines: Sequence[str] | None
    encoding: str = ""


@route(
    "GET",
    "/project/<project>/-/contents/<filename>",
    action=Action.READ,
    page=True,
    below_index=True,
)
async def contents(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Show the members of a file, or one of them."""
    if ctx.spelling != project or ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request,
            f"/project/{project}/-/contents/{part(filename)}",
            permanent=True,
            restricted=ctx.app.restricted,
        )
    permission = ctx.upstream_permission(project)
    judged = await judged_project(ctx, project, permission)
    unapproved = None if judged is None else judged.file(filename)
    file = unapproved or await ctx.app.index.file(project, filename, permission)
    reader = ctx.app.uncached_contents if unapproved else ctx.app.contents
    path = query_fields(ctx.request).text("path")
    try:
        if path:
            opened = await reader.member(file, path, permission)
            shown = await ctx.app.world.blocking(_shown, opened)
            return await _show_member(ctx, file, opened, shown)
        listing = await reader.listing(file, permission)
    except Opaque as error:
        return await show(
            ctx,
            "contents.html",
            status=422,
            file=file,
            listing=None,
            folder="",
            problem=str(error),
        )
    return await _show_list(ctx, file, listing)


async def _show_list(ctx: RequestContext, file: File, listing: MemberListing) -> None:
    query = query_fields(ctx.request)
    wanted, folder = query.text("find").strip(), query.text("in")
    if wanted:
        entries: Sequence[ArchiveFolder | Inner] = _filtered(listing.members, wanted)
    else:
        is_long = len(listing.members) > FEW_MEMBERS
        looked = ctx.app.world.thinking(look_in, listing.members, folder) if is_long else None
        folders, here = look_in(listing.members, folder) if looked is None else await looked
        entries = [*folders, *here]
    if folder and not entries:
        raise NoSuchMember(file.filename, folder)
    leaf: ListSlice[ArchiveFolder | Inner] = leaf_of(
        entries, ctx.request, "find", "in", most=MEMBERS
    )
    lines = [
        _entry(entry, "" if wanted else folder) for entry in leaf.lines
    ]  # only of this page: there may be twenty thousand
    await show(
        ctx,
        "contents.html",
        file=file,
        listing=listing,
        leaf=leaf,
        lines=lines,
        find=wanted,
        folder="" if wanted else folder,
        steps=steps_to(folder),
        problem="",
    )


def _filtered(members: Sequence[Inner], wanted: str) -> Sequence[Inner]:
    wanted = wanted.casefold()
    return [member for member in members if wanted in member.path.casefold()]


def _entry(entry: ArchiveFolder | Inner, folder: str) -> ContentsEntry:
    name = entry.path.removeprefix(folder) or "/"
    match entry:
        case ArchiveFolder(path=path, members=members, size=size):
            return ContentsEntry("in", path, name, size, members)
        case Inner(path=path, size=size, kind=kind):
            return ContentsEntry(
                "path", path, name, size, 0, "" if kind is TarKind.FILE else kind.value
            )


def steps_to(folder: str) -> list[tuple[str, str]]:
    """Return the path and the name of each folder on the way to this one."""
    segments = folder.split("/")[:-1]
    return [("/".join(segments[: length + 1]) + "/", name) for length, name in enumerate(segments)]


async def _show_member(
    ctx: RequestContext, file: File, opened: OpenedMember, shown: ShownMember
) -> None:
    leaf: ListSlice[str] = leaf_of(shown.lines or (), ctx.request, "path", most=LINES)
    member = opened.member
    await show(
        ctx,
        "member.html",
        file=file,
        member=member,
        is_file=member.kind is TarKind.FILE,
        is_text=shown.lines is not None,
        encoding=shown.encoding,
        is_cut=opened.is_cut,
        shown_bytes=len(opened.data),
        leaf=leaf,
        steps=steps_to(member.path[: member.path.rfind("/") + 1]),
        first=(leaf.page - 1) * LINES + 1,
    )


def _shown(opened: OpenedMember) -> ShownMember:
    text = text_of(opened)
    if text is None:
        return ShownMember(None)
    lines = text.text.split("\n")
    if not lines[-1]:
        lines.pop()
    return ShownMember([line_of(line.removesuffix("\r")) for line in lines], text.encoding)


def line_of(line: str) -> str:
    """Return a line for display, shortened, with invisible characters spelled out."""
    if len(line) <= LONGEST_LINE:
        return visible(line)
    return f"{visible(line[:LONGEST_LINE])}… ({len(line) - LONGEST_LINE:,} more characters)"
