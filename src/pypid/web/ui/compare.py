"""The comparison of two releases of a project: their metadata, their files, the members of two of
these, and the lines of a member.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from attrs import frozen

from pypid.core.archives.contents import Inner, visible
from pypid.core.archives.differences import DiffLine, MemberDifferences, Pair, choose_pair, pairs_of
from pypid.core.archives.metadata_differences import Changed, FieldDifference
from pypid.core.errors import NoSuchFile, Opaque
from pypid.core.model import Project
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import Release, choose_release, releases
from pypid.core.permissions import Action
from pypid.index.release_comparison import ComparedText, Comparison
from pypid.web.api.approvals import judged_project
from pypid.web.api.compare import both
from pypid.web.app.page_cache import FEW_FILES
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import query_fields
from pypid.web.http.redirects import redirect
from pypid.web.ui.contents import line_of
from pypid.web.ui.pages import show

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
async def compare(ctx: RequestContext, project: ProjectName) -> None:
    """Show the comparison of two releases; by default of the newest with the one before it."""
    if ctx.spelling != project or ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request,
            f"/project/{project}/-/compare",
            permanent=True,
            restricted=ctx.app.restricted,
        )
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
        kinds=_comparable(compared.pairs),
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
    lines = await ctx.app.world.thinking(_shown, text.lines or ())
    values |= {"kind": "" if pair is None else pair.kind, "path_asked": path}
    more = len(text.lines or ()) - len(lines)
    await show(ctx, "compare_lines.html", **values, text=text, lines=lines, more=more)


def _why_not(pairs: Sequence[Pair], kind: str) -> str:
    """Return why no pair of files was compared; `kind` is what was asked for, such as ``wheel``."""
    if kind and all(pair.kind != kind for pair in pairs):
        there = ", ".join(pair.kind for pair in pairs) or "none"
        return f"Neither release has a file of the kind “{visible(kind[:100])}”. Kinds: {there}."
    return "Only one of the two releases has such a file."


def _shown(lines: Sequence[DiffLine]) -> list[TextLine]:
    return [_line(line) for line in lines[:MOST_LINES]]


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


def _comparable(pairs: Sequence[Pair]) -> list[str]:
    """Return the kinds of files that both releases have."""
    return [pair.kind for pair in pairs if pair.old is not None and pair.new is not None]


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
