"""The entry of one file on a project page of the Simple API, as JSON has it; HTML is rendered from
it, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from pypid.core.model import File

FILES_URL = "../../packages/"
"""From ``/simple/<project>/`` to where files are served. bandersnatch demands that their paths
begin with ``/packages``.
"""


class Entry(msgspec.Struct, rename="kebab", frozen=True, kw_only=True, gc=False):
    """A page's entry of one file. Unknown values are omitted: uv refuses the whole page for
    a null.
    """

    filename: str
    url: str
    hashes: dict[str, str]
    size: int | UnsetType = UNSET
    upload_time: datetime | UnsetType = UNSET
    requires_python: str | UnsetType = UNSET
    core_metadata: dict[str, str] | bool | UnsetType = UNSET
    # not dist-info-metadata, its older name: pip 22.3 to 23.1, Debian 12's among them, crash on an
    # object there (PEP 714)
    provenance: str | UnsetType = UNSET
    yanked: bool | str = False


_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
is_unreserved = re.compile(r"[A-Za-z0-9._~-]*\Z").match
"""Returns a match for texts that need no quotes in URLs."""


def plain(text: str) -> str:
    """Return `text` as every representation can carry it, stripped."""
    return encodable(text.strip())


def encodable(text: str) -> str:
    """Return `text` as every representation can carry it.

    Line ends become LF; control characters, halves of surrogate pairs and noncharacters, which HTML
    cannot express or UTF-8 cannot encode, become U+FFFD.
    """
    if text.isprintable():
        return text
    return _ODD.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def utc_text(moment: datetime) -> str:
    """Return `moment` (aware) as ``yyyy-mm-ddThh:mm:ss[.ffffff]Z``, the one form that PEP 700
    allows.
    """
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    text: str = msgspec.to_builtins(moment)  # ten times as fast as isoformat
    return text


def quoted(part: str) -> str:
    """Return `part` as one segment of a URL's path, fully quoted."""
    if is_unreserved(part):
        return part
    return quote(part, safe="", errors="replace")


def entry_of(
    file: File,
    files_url: str,
    provenance_url: str | None,
    url_of: Callable[[File], str] | None = None,
) -> Entry:
    """Return the entry of a file; the arguments are those of `render.render_project`."""
    filename = name = file.filename
    if not is_unreserved(filename):  # nearly all are plain, and need no quotes
        filename = plain(filename)
        name = quoted(filename)
    metadata: dict[str, str] | bool | UnsetType = UNSET
    if file.metadata_sha256:
        metadata = {"sha256": file.metadata_sha256}
    elif file.metadata_offered:  # PEP 714 allows this if the hash is unknown
        metadata = True
    provenance: str | UnsetType = UNSET
    if provenance_url is not None and file.attested:
        provenance = f"{provenance_url}{file.project}/{quoted(file.version)}/{name}/provenance"
    uploaded = file.uploaded
    if uploaded is not None and uploaded.tzinfo is not UTC:
        uploaded = uploaded.astimezone(UTC)
    return Entry(
        filename=filename,
        url=files_url + name if url_of is None else url_of(file),
        hashes=hashes_of(file),
        size=UNSET if file.size is None else file.size,
        upload_time=UNSET if uploaded is None else uploaded,
        requires_python=(plain(file.requires_python) or UNSET) if file.requires_python else UNSET,
        core_metadata=metadata,
        provenance=provenance,
        # uv takes "" for yanked, pip does not: without a reason it is True.
        yanked=file.yanked is not None
        and (encodable(file.yanked) if file.yanked.strip() else True),
    )


def hashes_of(file: File) -> dict[str, str]:
    """Return the one hash that clients are to check: HTML has room for one, and uv refuses unknown
    algorithms.
    """
    if file.sha256:
        return {"sha256": file.sha256}
    if (
        file.digest and file.source is None
    ):  # of an exported list, whose readers were given this one before
        algorithm, _, value = file.digest.partition("=")
        return {algorithm: value}
    return {"md5": file.md5} if file.md5 else {}
