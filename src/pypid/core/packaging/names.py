"""Project names, and the parsing of distributions' file names.

Sources: packaging.python.org "Names and normalization" (the regular expressions), "Binary
distribution format" and "Source distribution format" (file names), PEP 440 (versions).
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NewType

from attrs import frozen
from packaging.version import InvalidVersion, Version

from pypid.core.errors import BadFilename, BadName

if TYPE_CHECKING:
    from packaging.tags import Tag

ProjectName = NewType("ProjectName", str)
"""A normalised project name; made only by `project_name`."""

LONGEST_NAME = 200
LONGEST_FILENAME = 220
"""Leaves room for pypid's suffixes (`layout`) below the 255 bytes that file systems allow."""

_VALID = re.compile(r"([A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9])\Z", re.IGNORECASE | re.ASCII)
_RUNS = re.compile(r"[-_.]+")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!~-]*\Z")
_EGG = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-py(?P<python>\d+(\.\d+)?))?(-.+)?\.egg\Z")


@lru_cache(maxsize=8192)
def project_name(text: str) -> ProjectName:
    """Return the normalised form of `text`. Raises `BadName` if it is not a project name (also over
    200 characters).
    """
    if len(text) > LONGEST_NAME or not _VALID.match(text):
        raise BadName(text)
    return ProjectName(_RUNS.sub("-", text).lower())


class Packagetype(Enum):
    """The type of a distribution; the values are those of the legacy upload API's ``filetype``."""

    WHEEL = "bdist_wheel"
    SDIST = "sdist"
    EGG = "bdist_egg"


@frozen
class Distribution:
    """The parts of a distribution's file name. `version` is the one in the name, PEP 440
    normalised.
    """

    filename: str
    project: ProjectName
    version: str
    packagetype: Packagetype
    python_version: str
    """As the legacy API's ``pyversion``: ``source`` for sdists, else the Python tag (``py3``,
    ``cp311``).
    """
    tags: frozenset[Tag] = frozenset()


SDIST_SUFFIXES = (".tar.gz", ".zip")
OLD_SDIST_SUFFIXES = (".tar.bz2", ".tgz", ".tar.xz")
"""Made by old tools; pip installs them, so they may be published and adopted."""
UPSTREAM_SDIST_SUFFIXES = (".tar", ".tbz", ".txz", ".tlz", ".tar.lz", ".tar.lzma")
"""pip accepts these as well (``pip._internal.utils.filetypes``): listed if an upstream has them,
and never published here.
"""
ALL_SDIST_SUFFIXES = (*SDIST_SUFFIXES, *OLD_SDIST_SUFFIXES, *UPSTREAM_SDIST_SUFFIXES)


_WORDS = r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*"
_USUAL_TAGS = re.compile(
    rf"(?:[0-9][A-Za-z0-9_.]*-)?"
    rf"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*-{_WORDS}-{_WORDS}\Z"
).match
_USUAL_NAME = re.compile(r"[A-Za-z0-9]+(?:[._][A-Za-z0-9]+)*\Z").match
_USUAL_VERSION = re.compile(r"[A-Za-z0-9.!+_]+\Z").match
_NUMBER = r"(?:0|[1-9][0-9]*+)"
_CANONICAL = re.compile(
    rf"{_NUMBER}(?:\.{_NUMBER})*+"
    rf"(?:(?:a|b|rc){_NUMBER})?+(?:\.post{_NUMBER})?+(?:\.dev{_NUMBER})?+\Z",
    re.ASCII,
).match
"""A version already in PEP 440's canonical spelling (its appendix B, without epochs)."""


def project_and_version(filename: str) -> tuple[ProjectName, str]:
    """Return project and version as `parse_filename` does, and raise the same, but ten times
    faster: a page has ten thousand files of few kinds.
    """
    if len(filename) <= LONGEST_NAME:
        found = _usual(filename)
        if found is not None:
            return found
    parsed = parse_filename(filename)
    return parsed.project, parsed.version


def _usual(filename: str) -> tuple[ProjectName, str] | None:
    """Parse a file name of the usual form; return None for any other, which may still be valid."""
    if filename.endswith(".whl"):
        components = filename[:-4].split("-", 2)
        return (
            usual_name_and_version(components[0], components[1])
            if len(components) == 3 and are_usual_tags(components[2])
            else None
        )
    if filename.endswith(".tar.gz"):
        written, _, version = filename[:-7].rpartition("-")
        return usual_name_and_version(written, version)
    return None


@lru_cache(maxsize=4096)  # more than one page has; an entry takes 500 bytes
def usual_name_and_version(written: str, version: str) -> tuple[ProjectName, str] | None:
    """Return the name and the version in a file name of the usual form, normalised; else None."""
    name, spelled = _usual_name(written), _spelled(version)
    return None if name is None or spelled is None else (name, spelled)


@lru_cache(maxsize=4096)
def are_usual_tags(text: str) -> bool:
    """Return whether these are the tags of a wheel, perhaps with a build number before them."""
    return _USUAL_TAGS(text) is not None


def _usual_name(text: str) -> ProjectName | None:
    return project_name(text) if _USUAL_NAME(text) else None


def _spelled(version: str) -> str | None:
    """Return the version as PEP 440 spells it, or None if it is invalid."""
    if _CANONICAL(version):
        return version
    if not _USUAL_VERSION(version):
        return None
    try:
        return str(Version(version))
    except ValueError:
        return None


def is_safe_filename(filename: str) -> bool:
    """Return whether the name has only characters of distribution names, and no path separators."""
    return _FILENAME.match(filename) is not None


def parse_filename(filename: str) -> Distribution:
    """Return the parts of a distribution's file name.

    Accepts wheels, sdists (also ``.tar.bz2``, ``.tgz`` and ``.tar.xz`` of old tools) and eggs.
    Raises `BadFilename` with the reason for anything else: other characters, path separators, more
    than 220 characters, no PEP 440 version.
    """
    if len(filename) > LONGEST_FILENAME:
        raise BadFilename(filename, f"it is longer than {LONGEST_FILENAME} characters.")
    if not is_safe_filename(filename):
        raise BadFilename(
            filename,
            (
                "only letters, digits and . _ + ! ~ - are allowed, and it begins with a letter or "
                "digit."
            ),
        )
    try:
        if filename.endswith(".whl"):
            return _wheel(filename)
        if filename.endswith(".egg"):
            return _egg(filename)
        return _sdist(filename)
    except BadName as error:
        raise BadFilename(filename, str(error)) from None


def _wheel(filename: str) -> Distribution:
    from packaging.utils import (
        InvalidWheelFilename,
        parse_wheel_filename,
    )  # imported here: no page needs it

    try:
        name, version, _build, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise BadFilename(filename, f"{error}.") from None
    python = filename[:-4].split("-")[-3]
    return Distribution(
        filename, project_name(str(name)), str(version), Packagetype.WHEEL, python, tags
    )


def wheel_tags(filename: str) -> list[str] | None:
    """Return the Python, ABI and platform tags in the filename of a wheel; None if there are too
    few parts. Quick, and checks nothing.
    """
    segments = filename[:-4].split("-")
    return segments[-3:] if len(segments) >= 5 else None


def _egg(filename: str) -> Distribution:
    match = _EGG.match(filename)
    if match is None:
        raise BadFilename(filename, "an egg is named name-version[-pyX.Y][-platform].egg.")
    return Distribution(
        filename,
        project_name(match["name"]),
        _version(filename, match["version"]),
        Packagetype.EGG,
        match["python"] or "",
    )


def _sdist(filename: str) -> Distribution:
    for suffix in OLD_SDIST_SUFFIXES:
        if filename.endswith(suffix):
            plain = filename.removesuffix(suffix) + ".tar.gz"
            break
    else:
        if not filename.endswith(SDIST_SUFFIXES):
            raise BadFilename(
                filename,
                "it ends neither in .whl nor in .tar.gz, .zip, .egg, .tar.bz2, .tgz or .tar.xz.",
            )
        plain = filename
    from packaging.utils import (
        InvalidSdistFilename,
        parse_sdist_filename,
    )  # imported here: no page needs it

    try:
        name, version = parse_sdist_filename(plain)
    except InvalidSdistFilename as error:
        raise BadFilename(filename, f"{error}.") from None
    return Distribution(
        filename, project_name(str(name)), str(version), Packagetype.SDIST, "source"
    )


def _version(filename: str, text: str) -> str:
    try:
        return str(Version(text.replace("_", "-")))
    except InvalidVersion:
        raise BadFilename(filename, f"{text!r} is not a version (PEP 440).") from None


@lru_cache(maxsize=16384)  # an entry takes 700 bytes
def _parsed(version: str) -> Version:
    return Version(version)


def version_of(text: str) -> Version:
    """Parse a version. Raises `ValueError`. It may be no longer than a file name, so that no client
    can have endless digits parsed (Python itself refuses more than 4,300 of them, by another
    exception than `InvalidVersion`).
    """
    if len(text) > LONGEST_FILENAME:
        raise InvalidVersion(f"Invalid version: {text[:40]!r}...")
    return _parsed(text)


def version_key(version: str) -> tuple[int, Any]:
    """Return a sort key for versions: those invalid by PEP 440 come first, by their text."""
    try:
        return (1, version_of(version))
    except ValueError:
        return (0, version)


VersionKeys = frozenset[tuple[int, Any]]
"""Versions by their `version_key`: all spellings of a release are one."""


def same_version(one: str, other: str) -> bool:
    """Return whether both spell one release (``1.0`` and ``1.0.0`` do, PEP 440)."""
    return version_key(one) == version_key(other)


def is_prerelease(version: str) -> bool:
    """Return whether `version` is a pre- or development release; one invalid by PEP 440 counts as
    such.
    """
    try:
        return version_of(version).is_prerelease
    except ValueError:
        return True
