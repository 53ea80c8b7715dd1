"""Names and globs of projects, as the configuration lists them: matched under every spelling of a
name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import lru_cache

from pypid.core.packaging.names import ProjectName

_SETS = re.compile(r"(\[!?\]?[^\]]*\])")
_RUNS = re.compile(r"[-_.]+")
WILD = frozenset("*?[")
"""What makes a glob more than the name of one project."""


@lru_cache(maxsize=1024)
def _compiled(glob: str) -> Callable[[str], object]:
    # what a name's normalisation does to a name is done to the glob (PEP 503), also inside [...],
    # where - means a range
    normal = "".join(
        _set(part) if part.startswith("[") else _RUNS.sub("-", part) for part in _SETS.split(glob)
    ).lower()
    if WILD.isdisjoint(glob):
        # most lists are of names, and to compile a regular expression takes as long as a small
        # request
        return normal.__eq__
    return re.compile(translate(normal)).match


def _set(part: str) -> str:
    """``[_.]`` means a separator, and of these a normalised name has one only; at the end of a set
    - is itself.
    """
    return part[:-1] + "-]" if re.search(r"[._]", part) and part.endswith("]") else part


def matches(name: ProjectName, globs: Iterable[str]) -> bool:
    """Whether the name is one of the names, or fits one of the globs."""
    return any(_compiled(glob)(name) for glob in globs)


def first_match(name: ProjectName, globs: Iterable[str]) -> str | None:
    """The first of `globs` that the name fits, or None."""
    return next((glob for glob in globs if _compiled(glob)(name)), None)
