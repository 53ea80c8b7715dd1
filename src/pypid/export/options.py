"""The options of an export and the paths in an exported tree."""

from __future__ import annotations

import re
from datetime import timedelta

from attrs import frozen

from pypid.core.errors import BadName
from pypid.core.model import File
from pypid.core.packaging.listed_names import version_of
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.simple_api.entries import quoted

MANIFEST = ".pypid-export.json"
"""The file at the root of a tree that says which index and view it belongs to (see `Stamp`)."""
SIDECAR_SUFFIXES = (".metadata", ".asc")
"""Suffixes of the sidecar files of a file. Older exports have PGP signatures."""
FOLDERS = ("simple/{}", "pypi/{}", "packages/{}", "integrity/{}", "rss/project/{}")
"""The folders of a project."""
_SEGMENT = r"(?!\.)[^/\0-\x1f\x7f\ud800-\udfff]+"
fits = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*\Z").match
"""Match a path that is allowed in a tree: no segment begins with a dot."""
_PLAIN = re.compile(r"(?!\.)[A-Za-z0-9._+!~-]+\Z").match
_OURS = re.compile(
    r"simple/(?P<simple>[a-z0-9-]+)/index\.(?:html|json)(?:\.gz)?"
    r"|pypi/(?P<pypi>[a-z0-9-]+)/(?:[^/]+/)?json"
    r"|rss/project/(?P<rss>[a-z0-9-]+)/releases\.xml"
    r"|integrity/(?P<integrity>[a-z0-9-]+)/[^/]+/[^/]+/provenance"
    r"|packages/(?P<packages>[a-z0-9-]+)/(?P<file>[^/]+)"
).fullmatch
LONGEST_NAME = 220
"""Longest name, in bytes, of a file that is copied: file systems allow 255, and suffixes are added.
"""


@frozen(kw_only=True)
class ExportOptions:
    """What an export contains and how its links are formed.

    `base_url` is the address of the index itself, without its last slash, or None if unknown.

    With `copies` the files are in the tree. `files_url`: the absolute URL (with its last slash)
    below which they are served; `signed`: pages contain signed URLs of this lifetime. With none of
    these, links lead to where a pypid serves the files.
    """

    user: str | None = None
    """The user whose view is exported; None: what anonymous may see."""
    copies: bool = False
    files_url: str | None = None
    signed: timedelta | None = None
    base_url: str | None = None
    releases: bool = True
    """Whether each release has its legacy JSON."""
    dated: bool = False
    """Whether the HTML start page says when it was generated."""
    title: str = "Python packages"
    logo: str | None = None
    logo_width: int = 0
    """Pixels; 0: the image's own width."""
    is_list: bool = False
    """Whether a list of files is exported, for places that a pypid never served: all files are
    directly below `files_url`, and links name ``index.html``, as dumb-pypi's do.
    """

    @property
    def stored_only(self) -> bool:
        """Whether pages name only stored files. Otherwise links lead to a pypid, which fetches the
        rest.
        """
        return self.copies or self.files_url is not None or self.signed is not None


def owner_of(path: str) -> ProjectName | None:
    """Return the project of an exported page or file; None for a path that no export writes."""
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
    for end in ("", *SIDECAR_SUFFIXES):
        if filename.endswith(end) and version_of(filename.removesuffix(end), name) is not None:
            return name
    return None


def normal(text: str) -> ProjectName | None:
    """Return the text if it is a project name in normal form, else None."""
    try:
        return name if (name := project_name(text)) == text else None
    except BadName:
        return None


def file_path(file: File) -> str:
    """Return the path of the copy of a file."""
    return f"packages/{file.project}/{file.filename}"


def provenance_path(file: File) -> str | None:
    """Return the path of a copied provenance object; None if the version is no valid path."""
    if not _PLAIN(file.version):
        return None
    return f"integrity/{file.project}/{file.version}/{file.filename}/provenance"


def release_path(name: ProjectName, version: str) -> str | None:
    """Return the path of a release's legacy JSON; None if the version is no valid path."""
    return f"pypi/{name}/{version}/json" if _PLAIN(version) and version != "json" else None


def can_be_copied(file: File) -> bool:
    """Return whether the file's name is allowed for a copy."""
    return fits(file_path(file)) is not None and len(file.filename.encode()) <= LONGEST_NAME


def url_below(files_url: str, file: File, options: ExportOptions) -> str:
    """Return the URL of a file below `files_url`."""
    folder = "" if options.is_list else f"{file.project}/"
    return f"{files_url}{folder}{quoted(file.filename)}"
