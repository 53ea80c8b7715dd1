"""What differs between two releases of a project: their metadata, files, and what lies in two of these; lines of a member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from attrs import frozen

from pypid.core.contents import Inner, visible
from pypid.core.differences import Line, MemberDifferences, Pair, choose_pair, pairs_of
from pypid.core.errors import NoSuchFile, Opaque
from pypid.core.fielddifferences import Changed
from pypid.core.model import Project
from pypid.core.names import project_name
from pypid.core.permissions import Action, Identity
from pypid.core.releases import Release, choose_release, releases
from pypid.index.differing import ComparedText, Comparison
from pypid.web.asking import asked_of
from pypid.web.compare import both
from pypid.web.face import Face, app
from pypid.web.guard import guarded
from pypid.web.pages import FEW_FILES
from pypid.web.redirects import redirect
from pypid.web.request import Request
from pypid.web.ui.asked import asked
from pypid.web.ui.contents import line_of
from pypid.web.ui.pages import show

MOST_VERSIONS = 1000
"""That can be chosen, the newest; in more nobody finds anything."""
MOST_MEMBERS, MOST_FILES, MOST_LINES = 200, 200, 3000
"""Members of each sort, kinds of files, and lines that are shown."""


@frozen
class MemberLine:
    """A member that is on one side, or differs. `size` in bytes, of the newer one of two; `grown`: since the older one."""

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
class TextLine:
    """A line of a comparison: ``added``, ``removed``, ``same``, or a ``gap`` in which the same lines are left out."""

    kind: str
    old: int | None
    new: int | None
    text: str


@guarded(app, "/project/<project>/-/compare", may=Action.READ, page=True)
async def compare(face: Face, request: Request, who: Identity, project: str) -> None:
    """Two releases compared; without their versions the newest with the one before it."""
    name = project_name(project)
    if project != name or request.path.endswith(b"/"):
        return redirect(request, f"/project/{name}/-/compare", permanent=True, restricted=face.restricted)
    asks, given = asked_of(face, request, who, project), asked(request)
    found = await face.index.project(name, asks)
    is_long = len(found.files) > FEW_FILES
    versions = await face.world.thinking(_versions, found) if is_long else _versions(found)
    chosen = _chosen(found, versions, given.text("from"), given.text("to"))
    values: dict[str, Any] = {"project": name, "versions": versions[:MOST_VERSIONS], "old": chosen[0], "new": chosen[1]}
    if "" in chosen:
        return await show(face, request, who, "compare.html", **values, compared=None, kind="", kinds=[])
    old, new = await both(face, found, *chosen)
    values |= {"old": old.version, "new": new.version}
    comparison = Comparison(face.contents, name, asks)
    if given.text("path"):
        return await _show_text(face, request, who, comparison, old, new, values)
    compared = await comparison.compare(old, new, given.text("kind") or None)
    return await show(
        face,
        request,
        who,
        "compare.html",
        **values,
        compared=compared,
        kind="" if compared.chosen is None else compared.chosen.kind,
        kinds=_comparable(compared.pairs),
        sorts=[] if compared.members is None else sorts_of(compared.members),
        most_files=MOST_FILES,
        visible=visible,
    )


async def _show_text(
    face: Face, request: Request, who: Identity, comparison: Comparison, old: Release, new: Release, values: dict[str, Any]
) -> None:
    """The lines of one member that differ."""
    given = asked(request)
    path, pairs = given.text("path"), pairs_of(old.files, new.files)
    pair = choose_pair(pairs, given.text("kind") or None)
    text = ComparedText(path, problem="Only one of the two releases has such a file.")
    if pair is not None and pair.old is not None and pair.new is not None:
        try:
            text = await comparison.text(pair.old, pair.new, path)
        except Opaque as error:
            text = ComparedText(path, problem=str(error))
    lines = [_line(line) for line in (text.lines or ())[:MOST_LINES]]
    values |= {"kind": "" if pair is None else pair.kind, "path_asked": path}
    more = len(text.lines or ()) - len(lines)
    await show(face, request, who, "compare_lines.html", **values, text=text, lines=lines, more=more)


def _versions(project: Project) -> list[str]:
    """All of them, the newest first."""
    return [release.version for release in reversed(releases(project))]


def _chosen(project: Project, versions: Sequence[str], old: str, new: str) -> tuple[str, str]:
    """What is compared, "" where there is nothing: by itself the release that installers choose, and the one before it.

    Raises `NoSuchFile` for a version that is not there.
    """
    found = choose_release(project, new or None)
    if found is None and new:
        raise NoSuchFile(f"{project.name} {new}")
    place = versions.index(found) if found in versions else -1
    before = versions[place + 1] if 0 <= place < len(versions) - 1 else ""
    return old or before, found or ""


def _comparable(pairs: Sequence[Pair]) -> list[str]:
    """The kinds of files that both releases have."""
    return [pair.kind for pair in pairs if pair.old is not None and pair.new is not None]


def sorts_of(members: MemberDifferences) -> list[Sort]:
    """What differs in the contents, in lists that have an end."""
    changed: Mapping[str, Changed[Inner]] = members.changed
    one_side = [
        Sort(word, [MemberLine(path, each.size) for path, each in islice(its.items(), MOST_MEMBERS)], len(its))
        for word, its in (("added", members.added), ("removed", members.removed))
    ]
    lines = [
        MemberLine(path, each.new.size, each.new.size - each.old.size) for path, each in islice(changed.items(), MOST_MEMBERS)
    ]
    return [*one_side, Sort("changed", lines, len(changed))]


def _line(line: Line) -> TextLine:
    kind = {"+": "added", "-": "removed", "@": "gap"}.get(line.mark, "same")
    text = line.text.removesuffix("\r") if kind == "same" else line.text
    return TextLine(kind, line.old, line.new, line_of(text))
