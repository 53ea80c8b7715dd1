"""What a tree of files is to be like, and which paths there are in one."""

from __future__ import annotations

import re
from datetime import timedelta

from attrs import frozen

from pypid.core.errors import BadName
from pypid.core.model import File
from pypid.core.packaging.listed_names import version_of
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.simple_api.render import quoted

MANIFEST = ".pypid-export.json"
"""At the root of a tree: whose it is."""
PAGE, JSON_PAGE = "index.html", "index.json"
BESIDE = (".metadata", ".asc")
"""What may lie beside a file."""
FOLDERS = ("simple/{}", "pypi/{}", "packages/{}", "integrity/{}", "rss/project/{}")
"""Where what there is of a project lies."""
_SEGMENT = r"(?!\.)[^/\0-\x1f\x7f\ud800-\udfff]+"
fits = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*\Z").match
"""Whether it can be a path in a tree. Hidden names are nobody's."""
_PLAIN = re.compile(r"(?!\.)[A-Za-z0-9._+!~-]+\Z").match
_OURS = re.compile(
    r"simple/(?P<simple>[a-z0-9-]+)/index\.(?:html|json)(?:\.gz)?"
    r"|pypi/(?P<pypi>[a-z0-9-]+)/(?:[^/]+/)?json"
    r"|rss/project/(?P<rss>[a-z0-9-]+)/releases\.xml"
    r"|integrity/(?P<integrity>[a-z0-9-]+)/[^/]+/[^/]+/provenance"
    r"|packages/(?P<packages>[a-z0-9-]+)/(?P<file>[^/]+)"
).fullmatch
LONGEST_NAME = 220
"""Bytes of the name of a file that is copied: file systems take 255, and there is more behind it.
"""


@frozen(kw_only=True)
class ExportOptions:
    """`base_url` is the address of the index itself, without its last slash, or None where nobody
    knows it.

    With `copies` the files lie in the tree. `files_url`: below which absolute URL (with its last
    slash) they are served; `signed`: each page says signed URLs, good for so long. Without any of
    that links lead to where the files of a pypid are.
    """

    user: str | None = None
    """Whose view it is; None: what anonymous may see."""
    copies: bool = False
    files_url: str | None = None
    signed: timedelta | None = None
    base_url: str | None = None
    releases: bool = True
    """Whether each release has its legacy JSON."""
    dated: bool = False
    """Whether the page for people says when it was made."""
    title: str = "Python packages"

    @property
    def stored_only(self) -> bool:
        """Whether pages name only what is stored here. Where links lead to a pypid, that fetches
        the rest.
        """
        return self.copies or self.files_url is not None or self.signed is not None


def owner_of(path: str) -> ProjectName | None:
    """The project of which this is a page or a file that an export wrote; None for what somebody
    else has put there.
    """
    match = _OURS(path)
    if match is None:
        return None
    word = match.lastgroup if match.lastgroup != "file" else "packages"
    assert word is not None
    name = normal(match[word])
    if name is None:
        return None
    if word != "packages":
        return name
    filename = match["file"]
    for end in ("", *BESIDE):
        if filename.endswith(end) and version_of(filename.removesuffix(end), name) is not None:
            return name
    return None


def normal(text: str) -> ProjectName | None:
    """The text, if it is a project's name in its normal form."""
    try:
        return name if (name := project_name(text)) == text else None
    except BadName:
        return None


def file_path(file: File) -> str:
    """Where a copy lies."""
    return f"packages/{file.project}/{file.filename}"


def provenance_path(file: File) -> str | None:
    """Where a copy of the provenance object lies; None where no file can be called so."""
    if not _PLAIN(file.version):
        return None
    return f"integrity/{file.project}/{file.version}/{file.filename}/provenance"


def release_path(name: ProjectName, version: str) -> str | None:
    """Where the legacy JSON of a release lies; None where no file can be called so."""
    return f"pypi/{name}/{version}/json" if _PLAIN(version) and version != "json" else None


def can_be_copied(file: File) -> bool:
    """Whether a copy can have the file's name."""
    return fits(file_path(file)) is not None and len(file.filename.encode()) <= LONGEST_NAME


def url_below(files_url: str, file: File) -> str:
    """The URL of a file."""
    return f"{files_url}{file.project}/{quoted(file.filename)}"
