"""The contents of a file, as JSON; the pages are in `web.ui`.

A client that may see a file may see its contents: the file is looked up as for a download, and what
a rule hides is hidden here, too. No member of an archive is ever sent in its own media type: texts
are JSON strings, and all else is only described.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from pypid.core.archives.contents import Inner, MemberListing, OpenedMember, Text, read_text
from pypid.core.archives.tars import TarKind
from pypid.core.errors import (
    Archived,
    BadListing,
    Busy,
    Loop,
    NoSuchFile,
    NoSuchMember,
    NoSuchProject,
    NotThere,
    NotYetKnown,
    Opaque,
    StorageDown,
    StorageFull,
    UpstreamDown,
    WrongBytes,
)
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.web.app.descriptions import Described
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.query import Parameter, names, number, parameters
from pypid.web.http.small_responses import send_json

MOST_LISTED = 5000
"""Most members in one answer."""


class MemberDocument(TypedDict):
    """A member of an archive. `compressed`: its size within a zip. `kind`: ``file``, or the other
    type that it has.
    """

    path: str
    size: int
    compressed: int | None
    crc32: str | None
    kind: str
    link: str | None


class ContentsDocument(TypedDict):
    """The contents of a file. `total`: the number of members; `more`: how many of them follow
    these.

    If one member was requested, it is described instead: `text` is null if it is not text
    (`binary`); `cut`: it continues after what is shown.
    """

    filename: str
    members: NotRequired[list[MemberDocument]]
    total: NotRequired[int]
    more: NotRequired[int]
    path: NotRequired[str]
    size: NotRequired[int]
    kind: NotRequired[str]
    link: NotRequired[str | None]
    text: NotRequired[str | None]
    encoding: NotRequired[str | None]
    binary: NotRequired[bool]
    cut: NotRequired[bool]


WHAT_MAY_HAPPEN = (
    *(
        NoSuchProject,
        NoSuchFile,
        NoSuchMember,
        Opaque,
        Busy,
        NotYetKnown,
        StorageDown,
        StorageFull,
        Archived,
    ),
    *(UpstreamDown, BadListing, WrongBytes, NotThere, Loop),
)
OF_CONTENTS = (
    Parameter("path", "A member, as the list spells its path: return its text."),
    Parameter(
        "skip",
        "The number of members to skip.",
        {"type": "integer", "minimum": 0, "maximum": 1_000_000},
    ),
)


@route(
    "GET",
    "/api/projects/<project>/files/<filename>/contents",
    action=Action.READ,
    describe=Described(ContentsDocument, asks=OF_CONTENTS, refuses=WHAT_MAY_HAPPEN),
    below_index=True,
)
async def contents(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """List the contents of a wheel, an egg or an sdist. With a path, return the text of one member,
    at most 1 MiB of it.
    """
    query = parameters(ctx.request, *names(OF_CONTENTS))
    skip = number(query, "skip", 0, 1_000_000) or 0
    permission = ctx.upstream_permission(project)
    found = await ctx.app.index.file(project, filename, permission)
    path = query.get("path")
    if path is None:
        listing = await ctx.app.contents.listing(found, permission)
        return send_json(ctx.request, _contents(found, listing, skip))
    opened = await ctx.app.contents.member(found, path, permission)
    text = await ctx.app.world.blocking(text_of, opened)
    return send_json(ctx.request, _opened(found, opened, text))


def text_of(opened: OpenedMember) -> Text | None:
    """Return the text of a member, or None if it is not text."""
    return read_text(opened.data, cut=opened.is_cut) if opened.member.kind is TarKind.FILE else None


def _contents(file: File, listing: MemberListing, skip: int) -> ContentsDocument:
    members = listing.members[skip : skip + MOST_LISTED]
    return {
        "filename": file.filename,
        "members": [_member(member) for member in members],
        "total": listing.total,
        "more": max(0, listing.total - skip - len(members)),
    }


def _member(member: Inner) -> MemberDocument:
    return {
        "path": member.path,
        "size": member.size,
        "compressed": member.packed,
        "crc32": None if member.crc is None else f"{member.crc:08x}",
        "kind": member.kind.value,
        "link": member.link or None,
    }


def _opened(file: File, opened: OpenedMember, text: Text | None) -> ContentsDocument:
    return {
        "filename": file.filename,
        "path": opened.member.path,
        "size": opened.member.size,
        "kind": opened.member.kind.value,
        "link": opened.member.link or None,
        "text": None if text is None else text.text,
        "encoding": None if text is None else text.encoding,
        "binary": text is None and opened.member.kind is TarKind.FILE,
        "cut": opened.is_cut,
    }
