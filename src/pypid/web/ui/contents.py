"""What is inside a file: the list of its members, and one of them as text, with the numbers of its lines.

Of an archive nothing but text comes into a page, and nothing that turns it around or cannot be seen (`core.contents.visible`).
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from pypid.core.contents import Inner, Listing, Opened, visible
from pypid.core.errors import Opaque
from pypid.core.model import File
from pypid.core.names import project_name
from pypid.core.permissions import Action, Identity
from pypid.core.tars import Kind
from pypid.web.asking import asked_of
from pypid.web.contents import text_of
from pypid.web.face import Face, app
from pypid.web.guard import guarded
from pypid.web.redirects import redirect
from pypid.web.request import Request
from pypid.web.ui.asked import Leaf, asked, leaf_of
from pypid.web.ui.pages import part, show

MEMBERS, LINES = 200, 1000
"""On one page."""
LONGEST_LINE = 2000
"""Characters of a line that are shown."""


@frozen
class Shown:
    """What a page shows of a member. `lines` of the text, with what cannot be seen spelled out; None: it is no text."""

    lines: Sequence[str] | None
    encoding: str = ""


@guarded(app, "/project/<project>/-/contents/<filename>", may=Action.READ, page=True)
async def contents(face: Face, request: Request, who: Identity, project: str, filename: str) -> None:
    """The members of a file, or one of them."""
    name = project_name(project)
    if project != name or request.path.endswith(b"/"):
        return redirect(request, f"/project/{name}/-/contents/{part(filename)}", permanent=True, restricted=face.restricted)
    given = asked_of(face, request, who, project)
    file = await face.index.file(name, filename, given)
    path = asked(request).text("path")
    try:
        if path:
            opened = await face.contents.member(file, path, given)
            shown = await face.world.blocking(_shown, opened)
            return await _show_member(face, request, who, file, opened, shown)
        listing = await face.contents.listing(file, given)
    except Opaque as error:
        return await show(face, request, who, "contents.html", status=422, file=file, listing=None, problem=str(error))
    return await _show_list(face, request, who, file, listing)


async def _show_list(face: Face, request: Request, who: Identity, file: File, listing: Listing) -> None:
    wanted = asked(request).text("find").strip()
    found = _filtered(listing.members, wanted)
    leaf: Leaf[Inner] = leaf_of(found, request, "find", most=MEMBERS)
    await show(face, request, who, "contents.html", file=file, listing=listing, leaf=leaf, find=wanted, problem="")


def _filtered(members: Sequence[Inner], wanted: str) -> Sequence[Inner]:
    wanted = wanted.casefold()
    return [member for member in members if wanted in member.path.casefold()] if wanted else members


async def _show_member(face: Face, request: Request, who: Identity, file: File, opened: Opened, shown: Shown) -> None:
    leaf: Leaf[str] = leaf_of(shown.lines or (), request, "path", most=LINES)
    member = opened.member
    await show(
        face,
        request,
        who,
        "member.html",
        file=file,
        member=member,
        is_file=member.kind is Kind.FILE,
        is_text=shown.lines is not None,
        encoding=shown.encoding,
        is_cut=opened.is_cut,
        shown_bytes=len(opened.data),
        leaf=leaf,
        first=(leaf.page - 1) * LINES + 1,
    )


def _shown(opened: Opened) -> Shown:
    text = text_of(opened)
    if text is None:
        return Shown(None)
    lines = text.text.split("\n")
    if not lines[-1]:
        lines.pop()
    return Shown([line_of(line.removesuffix("\r")) for line in lines], text.encoding)


def line_of(line: str) -> str:
    """A line for a page: not too long, and nothing in it that cannot be seen."""
    if len(line) <= LONGEST_LINE:
        return visible(line)
    return f"{visible(line[:LONGEST_LINE])}… ({len(line) - LONGEST_LINE:,} more characters)"
