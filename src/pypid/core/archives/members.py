"""Rules for the members of every archive, zip or tar: limits, and permitted names."""

from __future__ import annotations

import re

from attrs import define, field

from pypid.core.errors import shortened

MOST_ENTRIES = 200_000
"""Members of one archive; the largest files on PyPI have some tens of thousands."""
UNPACKED_FREELY = 256 << 20
"""Bytes that any archive may unpack to; beyond them the ratio is checked."""
LARGEST_RATIO = 100
"""Unpacked by packed bytes. Code has 3 to 10 (PyPI refuses above 50); a bomb of zeros 1,000."""
MOST_UNPACKED = 16 << 30
"""Maximum number of unpacked bytes of an archive, whatever its ratio."""
LARGEST_PART = 16 << 20
"""Maximum number of bytes requested at once of a remote archive; also limits its central directory
(50,000 members of 280 characters).
"""

_MOST_PROBLEMS = 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


class UnusableArchive(Exception):
    """The archive cannot be read any further; the text is the problem."""


@define
class MemberProblems:
    """The problems found so far, each once; after the first 20 they are only counted."""

    _problems: dict[str, None] = field(factory=dict)
    _more: int = 0

    def add(self, problem: str) -> None:
        """Add a problem."""
        if problem in self._problems:
            return
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems[problem] = None
        else:
            self._more += 1

    def problems(self) -> tuple[str, ...]:
        """Return all problems, in the order they were found."""
        more = (f"and {self._more} more problems of the same kinds.",) if self._more else ()
        return (*self._problems, *more)


def path_problem(name: str, *, backslash: bool) -> str | None:
    """Return the problem that forbids a member of this name, or None.

    `backslash` says whether one may be part of a name: in old sdists it is, in a wheel it never is
    (PEP 427). Even then the name is also checked as Windows interprets it, because an archive is
    unpacked there too.
    """
    shown = repr(shortened(name))
    if _CONTROL.search(name):
        return f"the archive has a member with control characters in its name: {shown}."
    if "\\" in name and not backslash:
        return (
            f"the archive has a member with a backslash in its name: {shown}; the separator is '/'."
        )
    either = name.replace("\\", "/")
    if either.startswith("/") or _DRIVE.match(either):
        return f"the archive has a member with an absolute name: {shown}."
    if ".." in either.split("/"):
        return f"the archive has a member whose name leads out of it: {shown}."
    if not any(part not in ("", ".") for part in either.split("/")) and name not in (".", "./"):
        return f"the archive has a member without a name: {shown}."
    return None


def path_components(name: str) -> tuple[str, ...]:
    """Return the parts of a member's name, without empty and ``.`` parts."""
    return tuple(part for part in name.split("/") if part not in ("", "."))


def is_bomb(unpacked: int, packed: int) -> bool:
    """Return whether these bytes are more likely an attack than a distribution."""
    return unpacked > MOST_UNPACKED or (
        unpacked > UNPACKED_FREELY and unpacked > LARGEST_RATIO * packed
    )


BOMB = (
    f"the archive unpacks to more than {LARGEST_RATIO} times its size (or more than "
    f"{MOST_UNPACKED >> 30} GiB): take generated or empty data out of it."
)
