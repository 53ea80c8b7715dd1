"""Pages of the contents of a file, and of two releases compared.

The contents of a file: the list of its members, and a member as text with line numbers.

Only text of an archive comes into a page, and no characters that change its direction or are
invisible (`core.archives.contents.visible`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from attrs import frozen

from pypid.core.archives.contents import (
    ArchiveFolder,
    Inner,
    MemberListing,
    OpenedMember,
    look_in,
    visible,
)
from pypid.core.archives.differences import (
    Changed,
    DiffLine,
    FieldDifference,
    MemberDifferences,
    Pair,
    choose_pair,
    pairs_of,
)
from pypid.core.archives.tars import TarKind
from pypid.core.errors import NoSuchFile, NoSuchMember, Opaque
from pypid.core.model import File, Project
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import Release, choose_release, releases
from pypid.core.permissions import Action
from pypid.index.file_contents import ComparedText, Comparison
from pypid.web.api.projects import both, text_of
from pypid.web.api.upstream import judged_project
from pypid.web.app.page_cache import FEW_FILES
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import query_fields
from pypid.web.ui.pages import ListSlice, canonical, leaf_of, show

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
@canonical("/project/{project}/-/contents/{filename}")
async def contents(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Show the members of a file, or one of them."""
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


# The comparison of two releases of a project: their metadata, their files, the members of two of
# these, and the lines of a member.

MOST_VERSIONS = 1000
"""Number of versions, the newest, that can be chosen: longer lists are of no use."""
MOST_MEMBERS, MOST_FILES, MOST_LINES = 200, 200, 3000
"""Number of members of each sort, kinds of files, and lines that are shown."""
MOST_VALUES, LONGEST_VALUE = 100, 300
"""Number of values of each sort in a metadata field that are shown, and characters of one:
uploaders write thousands of them.
"""


@frozen
class MemberLine:
    """A member that is on one side, or differs. `size` in bytes, of the newer one of two; `grown`:
    the difference to the older one.
    """

    path: str
    size: int
    grown: int = 0


@frozen
class Sort:
    """The members that were added, removed, or changed: the first of a `total`."""

    word: str
    lines: Sequence[MemberLine]
    total: int


@frozen
class Field:
    """The differences in a metadata field; `more`: how many values are not shown."""

    name: str
    added: Sequence[str]
    removed: Sequence[str]
    changed: Sequence[tuple[str, str]]
    more: int


@frozen
class TextLine:
    """A line of a comparison: ``added``, ``removed``, ``same``, or a ``gap`` in which equal lines
    are left out.
    """

    kind: str
    old: int | None
    new: int | None
    text: str


@route("GET", "/project/<project>/-/compare", action=Action.READ, page=True, below_index=True)
@canonical("/project/{project}/-/compare")
async def compare(ctx: RequestContext, project: ProjectName) -> None:
    """Show the comparison of two releases; by default of the newest with the one before it."""
    asks, query = ctx.upstream_permission(project), query_fields(ctx.request)
    judged = await judged_project(ctx, project, asks)
    found = judged or await ctx.app.index.project(project, asks)
    is_long = len(found.files) > FEW_FILES
    versions = await ctx.app.world.thinking(_versions, found) if is_long else _versions(found)
    chosen = _chosen(found, versions, query.text("from"), query.text("to"))
    values: dict[str, Any] = {
        "project": project,
        "versions": versions[:MOST_VERSIONS],
        "old": chosen[0],
        "new": chosen[1],
    }
    if "" in chosen:
        return await show(
            ctx,
            "compare.html",
            **values,
            compared=None,
            fields=None,
            kind="",
            kinds=[],
        )
    old, new = await both(ctx.app, found, *chosen)
    values |= {"old": old.version, "new": new.version}
    reader = ctx.app.uncached_contents if judged else ctx.app.contents
    comparison = Comparison(reader, project, asks)
    if query.text("path"):
        return await _show_text(ctx, comparison, old, new, values)
    compared = await comparison.compare(old, new, query.text("kind") or None)
    return await show(
        ctx,
        "compare.html",
        **values,
        compared=compared,
        kind="" if compared.chosen is None else compared.chosen.kind,
        kinds=[
            pair.kind for pair in compared.pairs if pair.old is not None and pair.new is not None
        ],
        fields=None
        if compared.fields is None
        else await ctx.app.world.thinking(fields_of, compared.fields),
        sorts=[] if compared.members is None else sorts_of(compared.members),
        most_files=MOST_FILES,
    )


async def _show_text(
    ctx: RequestContext,
    comparison: Comparison,
    old: Release,
    new: Release,
    values: dict[str, Any],
) -> None:
    """Show the lines of one member that differ."""
    query = query_fields(ctx.request)
    path = query.text("path")
    is_long = len(old.files) + len(new.files) > FEW_FILES
    pairs = (
        await ctx.app.world.thinking(pairs_of, old.files, new.files)
        if is_long
        else pairs_of(old.files, new.files)
    )
    pair = choose_pair(pairs, query.text("kind") or None)
    text = ComparedText(path, problem=_why_not(pairs, query.text("kind")))
    if pair is not None and pair.old is not None and pair.new is not None:
        try:
            text = await comparison.text(pair.old, pair.new, path)
        except Opaque as error:
            text = ComparedText(path, problem=str(error))
    shown = (text.lines or ())[:MOST_LINES]
    lines = await ctx.app.world.thinking(lambda: [_line(line) for line in shown])
    values |= {"kind": "" if pair is None else pair.kind, "path_asked": path}
    more = len(text.lines or ()) - len(lines)
    await show(ctx, "compare_lines.html", **values, text=text, lines=lines, more=more)


def _why_not(pairs: Sequence[Pair], kind: str) -> str:
    """Return why no pair of files was compared; `kind` is what was asked for, such as ``wheel``."""
    if kind and all(pair.kind != kind for pair in pairs):
        there = ", ".join(pair.kind for pair in pairs) or "none"
        return f"Neither release has a file of the kind “{visible(kind[:100])}”. Kinds: {there}."
    return "Only one of the two releases has such a file."


def _versions(project: Project) -> list[str]:
    """Return all versions, the newest first."""
    return [release.version for release in reversed(releases(project))]


def _chosen(project: Project, versions: Sequence[str], old: str, new: str) -> tuple[str, str]:
    """Return the two versions to compare, "" for one that does not exist: by default the release
    that installers choose, and the one before it.

    Raises `NoSuchFile` for an unknown version.
    """
    found = choose_release(project, new or None)
    if found is None and new:
        raise NoSuchFile(f"{project.name} {new}")
    place = versions.index(found) if found in versions else -1
    before = versions[place + 1] if 0 <= place < len(versions) - 1 else ""
    return old or before, found or ""


def fields_of(fields: Sequence[FieldDifference]) -> list[Field]:
    """Return the differences in the metadata for display, with limited length and invisible
    characters spelled out.
    """
    return [
        Field(
            field.name,
            [_value(each) for each in field.added[:MOST_VALUES]],
            [_value(each) for each in field.removed[:MOST_VALUES]],
            [(_value(each.old), _value(each.new)) for each in field.changed[:MOST_VALUES]],
            sum(
                max(0, len(each) - MOST_VALUES)
                for each in (field.added, field.removed, field.changed)
            ),
        )
        for field in fields
    ]


def _value(text: str) -> str:
    return visible(text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…")


def sorts_of(members: MemberDifferences) -> list[Sort]:
    """Return the differences in the contents for display, in lists of limited length."""
    changed: Mapping[str, Changed[Inner]] = members.changed
    one_side = [
        Sort(
            word,
            [MemberLine(path, each.size) for path, each in islice(its.items(), MOST_MEMBERS)],
            len(its),
        )
        for word, its in (("added", members.added), ("removed", members.removed))
    ]
    lines = [
        MemberLine(path, each.new.size, each.new.size - each.old.size)
        for path, each in islice(changed.items(), MOST_MEMBERS)
    ]
    return [*one_side, Sort("changed", lines, len(changed))]


def _line(line: DiffLine) -> TextLine:
    kind = {"+": "added", "-": "removed", "@": "gap"}.get(line.mark, "same")
    text = line.text.removesuffix("\r") if kind == "same" else line.text
    return TextLine(kind, line.old, line.new, line_of(text))
