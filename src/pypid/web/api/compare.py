"""The comparison of two releases of a project, as JSON; the page is in `web.ui.compare`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TypedDict

from pypid.core.archives.contents import Inner
from pypid.core.archives.differences import DiffLine, MemberDifferences, Pair
from pypid.core.archives.metadata_differences import Changed, FieldDifference
from pypid.core.errors import BadRequest, NoSuchFile
from pypid.core.model import File, Project
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import Release, release_of
from pypid.core.permissions import Action
from pypid.index.release_comparison import Compared, ComparedText, Comparison
from pypid.web.api.contents import WHAT_MAY_HAPPEN
from pypid.web.app.app import App
from pypid.web.app.descriptions import Described
from pypid.web.app.page_cache import FEW_FILES
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.query import Parameter, names, parameters
from pypid.web.http.small_responses import send_json

MOST_LISTED = 2000
"""Most members of each kind (added, removed, changed) in one answer."""

ChangedText = TypedDict("ChangedText", {"from": str, "to": str})
"""A changed value, in both releases."""


class FieldDocument(TypedDict):
    """The differences in one metadata field."""

    field: str
    added: list[str]
    removed: list[str]
    changed: list[ChangedText]


PairDocument = TypedDict(
    "PairDocument",
    {
        "kind": str,
        "from": str | None,
        "to": str | None,
        "from_size": int | None,
        "to_size": int | None,
    },
)
"""The files of one kind, by filename; null if a release has none."""


class SizedMember(TypedDict):
    """An archive member that only one of the two files has."""

    path: str
    size: int


class ChangedMember(TypedDict):
    """An archive member that differs between the two files."""

    path: str
    from_size: int
    to_size: int


class MembersDocument(TypedDict):
    """The differences between the contents of two files. `more`: how many members are in none of
    the lists.
    """

    added: list[SizedMember]
    removed: list[SizedMember]
    changed: list[ChangedMember]
    same: int
    more: int


LineDocument = TypedDict(
    "LineDocument", {"mark": str, "from": int | None, "to": int | None, "text": str}
)
"""A line, with its number in each text that has it; ``@`` marks omitted lines."""


class TextDocument(TypedDict):
    """The lines of one member that differ. `lines` is null if there are none to show; `problem`
    says why.
    """

    path: str
    lines: list[LineDocument] | None
    problem: str | None


ComparedDocument = TypedDict(
    "ComparedDocument",
    {
        "name": str,
        "from": str,
        "to": str,
        "metadata": list[FieldDocument] | None,
        "files": list[PairDocument],
        "kind": str | None,
        "contents": MembersDocument | None,
        "problem": str | None,
        "text": TextDocument | None,
    },
)
"""Two releases compared. `metadata` is null if that of one of them is not available; `contents` is
about the files of `kind`, null if there is no such pair or they cannot be read (`problem`).
"""

OF_COMPARISONS = (
    Parameter("from", "The older release, in any spelling of its version.", required=True),
    Parameter("to", "The newer release.", required=True),
    Parameter("kind", "The files to compare: the tags of a wheel as in its filename, or sdist."),
    Parameter("path", "A member that differs, to compare its lines."),
)


@route(
    "GET",
    "/api/projects/<project>/compare",
    action=Action.READ,
    describe=Described(ComparedDocument, asks=OF_COMPARISONS, refuses=WHAT_MAY_HAPPEN),
    below_index=True,
)
async def compare(ctx: RequestContext, project: ProjectName) -> None:
    """Compare two releases: their metadata, their files, and the contents of one pair of files."""
    query = parameters(ctx.request, *names(OF_COMPARISONS))
    permission = ctx.upstream_permission(project)
    found = await ctx.app.index.project(project, permission)
    if "from" not in query or "to" not in query:
        raise BadRequest("Say which releases to compare: from=1.0&to=2.0.")
    old, new = await both(ctx.app, found, query["from"], query["to"])
    comparison = Comparison(ctx.app.contents, found.name, permission)
    compared = await comparison.compare(old, new, query.get("kind"))
    text = await text_of(comparison, compared, query["path"]) if "path" in query else None
    document = await ctx.app.world.blocking(compared_document, found.name, compared, text)
    send_json(ctx.request, document)


async def both(app: App, project: Project, old: str, new: str) -> tuple[Release, Release]:
    """Return the releases of both versions. Raises `NoSuchFile`."""
    if len(project.files) <= FEW_FILES:
        return _both(project, old, new)
    return await app.world.thinking(_both, project, old, new)


def _both(project: Project, old: str, new: str) -> tuple[Release, Release]:
    return _release(project, old), _release(project, new)


def _release(project: Project, version: str) -> Release:
    found = release_of(project, version)
    if found is None:
        raise NoSuchFile(f"{project.name} {version}")
    return found


async def text_of(comparison: Comparison, compared: Compared, path: str) -> ComparedText:
    """Return the lines of a member that differ. Raises `NoSuchMember`, and `BadRequest` if no two
    files are compared.
    """
    chosen = compared.chosen
    if chosen is None or chosen.old is None or chosen.new is None:
        raise BadRequest(
            "There are no two files of one kind in these releases whose contents could be compared."
        )
    return await comparison.text(chosen.old, chosen.new, path)


def compared_document(
    project: ProjectName, compared: Compared, text: ComparedText | None
) -> ComparedDocument:
    """Return the document of a comparison; takes milliseconds if many members differ."""
    chosen = compared.chosen
    return {
        "name": project,
        "from": compared.old,
        "to": compared.new,
        "metadata": None if compared.fields is None else [_field(each) for each in compared.fields],
        "files": [_pair(pair) for pair in compared.pairs],
        "kind": None if chosen is None else chosen.kind,
        "contents": None if compared.members is None else _members(compared.members),
        "problem": compared.problem,
        "text": None if text is None else _text(text),
    }


def _field(found: FieldDifference) -> FieldDocument:
    return {
        "field": found.name,
        "added": list(found.added),
        "removed": list(found.removed),
        "changed": [{"from": each.old, "to": each.new} for each in found.changed],
    }


def _pair(pair: Pair) -> PairDocument:
    (old, old_size), (new, new_size) = _named(pair.old), _named(pair.new)
    return {"kind": pair.kind, "from": old, "to": new, "from_size": old_size, "to_size": new_size}


def _named(file: File | None) -> tuple[str | None, int | None]:
    return (None, None) if file is None else (file.filename, file.size)


def _members(found: MemberDifferences) -> MembersDocument:
    sorts = (found.added, found.removed, found.changed)
    return {
        "added": _sized(found.added),
        "removed": _sized(found.removed),
        "changed": [
            _changed(path, each) for path, each in islice(found.changed.items(), MOST_LISTED)
        ],
        "same": found.same,
        "more": sum(max(0, len(sort) - MOST_LISTED) for sort in sorts),
    }


def _sized(members: Mapping[str, Inner]) -> list[SizedMember]:
    return [
        {"path": path, "size": member.size} for path, member in islice(members.items(), MOST_LISTED)
    ]


def _changed(path: str, changed: Changed[Inner]) -> ChangedMember:
    return {"path": path, "from_size": changed.old.size, "to_size": changed.new.size}


def _text(text: ComparedText) -> TextDocument:
    lines: Iterable[DiffLine] = text.lines or ()
    return {
        "path": text.path,
        "lines": None
        if text.lines is None
        else [
            {"mark": line.mark, "from": line.old, "to": line.new, "text": line.text}
            for line in lines
        ],
        "problem": text.problem,
    }
