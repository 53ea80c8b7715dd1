"""File names on an upstream page: knowing the project, more names can be parsed than without.

Installers strip the project's name from the front of an sdist's name, and the rest is the version
(pip's ``_find_name_version_sep``, uv's ``SourceDistFilename::parse``): so it may contain hyphens,
as in ``cffi-1.2.0-1.tar.gz``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from packaging.version import InvalidVersion, Version

from pypid.core.errors import BadFilename, BadName
from pypid.core.packaging.names import (
    ALL_SDIST_SUFFIXES,
    LONGEST_FILENAME,
    ProjectName,
    is_safe_filename,
    project_and_version,
    project_name,
)

_WHEEL_WITH_LABEL = re.compile(
    r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-[^-]+-[^-]+-[^-]+"
    r"-(?P<label>[a-z0-9_.]+)\.whl\Z"
)
"""A wheel of a variant (PEP 825, draft): with a label after the tags."""
_LIST_OF_LABELS = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)-variants\.json\Z")


_OLD_VERSION = re.compile(r"[0-9][^/]*\Z|[^-/]+\Z").match
"""A version that is not valid by PEP 440, and that pip accepted until 24.0; ``bar-1.0`` is rather
the end of another project's name.
"""


def version_of(filename: str, name: ProjectName) -> str | None:
    """Return the version in the file name; None for a file that no installer takes, or of another
    project.

    It is normalised by PEP 440, except that the invalid version of an old sdist
    (``mercurial-4.x-rc.tar.gz``) is returned as written: old installers take it, new ones ignore
    it.
    """
    try:
        project, version = project_and_version(filename)
    except BadFilename:
        return _version_of_variant(filename, name) or _version_of_sdist(filename, name)
    return version if project == name else _version_of_sdist(filename, name)


def _version_of_variant(filename: str, name: ProjectName) -> str | None:
    match = _LIST_OF_LABELS.match(filename) or _WHEEL_WITH_LABEL.match(filename)
    try:
        if match is None or project_name(match["name"]) != name:
            return None
        return str(Version(match["version"]))
    except (BadName, InvalidVersion):
        return None


def _version_of_sdist(filename: str, name: ProjectName) -> str | None:
    suffix = next((suffix for suffix in ALL_SDIST_SUFFIXES if filename.endswith(suffix)), None)
    if suffix is None or len(filename) > LONGEST_FILENAME or not is_safe_filename(filename):
        return None
    prefix = _prefix(name).match(filename)
    if prefix is None:
        return None
    version = filename[prefix.end() : -len(suffix)]
    try:
        return str(Version(version))
    except InvalidVersion:
        return version if _OLD_VERSION(version) else None


@lru_cache(maxsize=1024)
def _prefix(name: ProjectName) -> re.Pattern[str]:
    """Return a pattern for the name under any spelling, with the hyphen after it."""
    return re.compile(
        "[-_.]+".join(map(re.escape, name.split("-"))) + "-", re.IGNORECASE | re.ASCII
    )


def is_mutable(filename: str) -> bool:
    """Return whether the contents of the file may change: the list of a release's variants (PEP
    825, draft; C37).
    """
    return _LIST_OF_LABELS.match(filename) is not None
