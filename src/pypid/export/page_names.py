"""The project and version of a file of a list by its name alone, as dumb-pypi guesses and as the
specifications say.

An administrator who replaces dumb-pypi keeps each link at its place; so dumb-pypi's guess comes
first, and the specifications are used if it has none, or one without a version. (dumb-pypi 1.15;
packaging.python.org, "Binary distribution format" and "Source distribution format".)
"""

from __future__ import annotations

import re
from functools import lru_cache

from attrs import frozen
from packaging.version import Version

from pypid.core.errors import BadFilename, BadName
from pypid.core.packaging.names import ProjectName, project_and_version, project_name

LONGEST = 255
"""Maximum characters of a file name; versions out of it become names of folders."""
_SAFE = re.compile(r"[A-Za-z0-9_.+!-]+\Z").match


@frozen
class PagePlace:
    """A project's page that lists a file. `version` is normalized (PEP 440), "" if unknown."""

    project: ProjectName
    version: str


def places(filename: str) -> tuple[PagePlace, ...]:
    """Return at least one place that lists the file, dumb-pypi's first. Raises `BadFilename`."""
    if len(filename) > LONGEST:
        raise BadFilename(filename, f"it is longer than {LONGEST} characters.")
    if not _SAFE(filename) or ".." in filename:
        raise BadFilename(
            filename, "only letters, digits and . _ + ! - are allowed, and no two dots together."
        )
    guessed = _guessed(filename)
    try:
        certain = PagePlace(*project_and_version(filename))
    except BadFilename:
        if guessed is None:
            raise
        return (guessed,)
    # of foo-1.0.tgz dumb-pypi guesses version 1
    if guessed is None or guessed.project == certain.project:
        return (certain,)
    # python-foo-1.tar.gz is a project named python-foo-1 to dumb-pypi; clients that look for
    # python-foo must find it, too
    return (guessed,) if guessed.version else (guessed, certain)


def _guessed(filename: str) -> PagePlace | None:
    name, spelled = _of_wheel(filename) if filename.endswith(".whl") else _of_other(filename)
    try:
        project = project_name(name)
        return PagePlace(project, "" if spelled is None else _normal(spelled))
    except (BadName, ValueError):
        return None


@lru_cache(maxsize=16384)
def _normal(version: str) -> str:
    return str(Version(version))


def _of_wheel(filename: str) -> tuple[str, str | None]:
    segments = filename.removesuffix(".whl").split("-")
    right = (
        len(segments) in (5, 6)
        and all(segments)
        and all(part[0].isdigit() for part in segments[1:-3])
    )
    return (segments[0], segments[1]) if right else ("", None)


def _of_other(filename: str) -> tuple[str, str | None]:
    """Return name and version: the version begins at the first part that has a dot and a digit,
    not counting the very first; of two parts it is the second.
    """
    stem = filename.rpartition(".")[0] if filename.endswith(("gz", "bz2")) else filename
    stem = stem.rpartition(".")[0]
    segments = stem.split("-")
    if len(segments) == 2:
        return segments[0], segments[1]
    for number, part in enumerate(segments[1:], 1):
        if "." in part and any(character.isdigit() for character in part):
            return "-".join(segments[:number]), "-".join(segments[number:])
    return stem, None
