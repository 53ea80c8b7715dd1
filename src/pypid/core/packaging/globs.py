"""Project names and globs in the configuration, matched under every spelling of a name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import lru_cache

from pypid.core.packaging.names import ProjectName

_SETS = re.compile(r"(\[!?\]?[^\]]*\])")
_RUNS = re.compile(r"[-_.]+")
WILD = frozenset("*?[")
"""The characters that make a glob more than the name of one project."""


@lru_cache(maxsize=1024)
def _compiled(glob: str) -> Callable[[str], object]:
    # the glob is normalised like a name (PEP 503), except that in [...] a - means a range
    normal = "".join(
        _set(part) if part.startswith("[") else _RUNS.sub("-", part) for part in _SETS.split(glob)
    ).lower()
    if WILD.isdisjoint(glob):
        # most lists are of names, and compiling a regular expression takes as long as a small
        # request
        return normal.__eq__
    return re.compile(translate(normal)).match


def _set(part: str) -> str:
    """Return a set normalised: ``[_.]`` means a separator, which is ``-`` in a normalised name; at
    the end of a set ``-`` is literal.
    """
    return part[:-1] + "-]" if re.search(r"[._]", part) and part.endswith("]") else part


def matches(name: ProjectName, globs: Iterable[str]) -> bool:
    """Return whether the name is one of the names, or matches one of the globs."""
    return any(_compiled(glob)(name) for glob in globs)


def first_match(name: ProjectName, globs: Iterable[str]) -> str | None:
    """Return the first of `globs` that the name matches, or None."""
    return next((glob for glob in globs if _compiled(glob)(name)), None)
