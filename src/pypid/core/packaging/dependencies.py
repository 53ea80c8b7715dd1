"""The dependencies of a release: its Requires-Dist, grouped by extra, for display.

Sources: "Dependency specifiers" (PEP 508), core metadata's Requires-Dist and Provides-Extra. What
cannot be parsed is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import evolve, frozen

from pypid.core.errors import BadName
from pypid.core.packaging.names import ProjectName, project_name

MOST = 300
"""Maximum number of requirements parsed and shown, each counted once per extra that requires it;
the largest known release has some hundred.
"""
MOST_EXTRAS = 100
LONGEST = 300
"""Maximum length in characters of a name, a version (or an address) and a marker as shown."""
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]{1,100})['"]|['"]([^'"]{1,100})['"]\s*==\s*extra""")
_RUNS = re.compile(r"[-_.]+")


@frozen
class Need:
    """One requirement. `project` is None if the name is invalid; `name` is it as written, or the
    whole text if that cannot be parsed. `marker` is the condition, without the extra under which it
    is grouped.
    """

    name: str
    project: ProjectName | None = None
    extras: tuple[str, ...] = ()
    version: str = ""
    """The specifier (``>=1.0,<2``), or ``@ `` and an address."""
    marker: str = ""


@frozen
class Needs:
    """The requirements that are always `needed`, and the additional ones of each of the `extras`;
    `more`: how many are not shown.
    """

    needed: tuple[Need, ...] = ()
    extras: tuple[tuple[str, tuple[Need, ...]], ...] = ()
    more: int = 0

    @property
    def count(self) -> int:
        """The number of requirements."""
        return len(self.needed) + sum(len(each) for _, each in self.extras) + self.more


def needs_of(requirements: Sequence[str], provided: Sequence[str]) -> Needs:
    """Return the requirements in groups. Never raises; 300 of them take some 30 ms."""
    spellings = {_plain(extra): extra for extra in reversed(provided[:MOST_EXTRAS])}
    groups: dict[str, list[Need]] = {_plain(extra): [] for extra in provided[:MOST_EXTRAS]}
    needed: list[Need] = []
    shown, left_out = 0, dict[str, int]()
    for text in requirements[:MOST]:
        need = need_of(text)
        extras = list(
            dict.fromkeys(_plain(one or other) for one, other in _EXTRA.findall(need.marker))
        )
        if not extras:
            needed.append(evolve(need, marker=_shown(need.marker)))
            shown += 1
        under = Need(
            need.name, need.project, need.extras, need.version, _shown(_without_extra(need.marker))
        )
        for extra in extras[:MOST_EXTRAS]:
            if shown >= MOST:  # else up to 300 times 100 of them, each perhaps long
                left_out[extra] = left_out.get(extra, 0) + 1
            elif extra in groups or len(groups) < MOST_EXTRAS:
                groups.setdefault(extra, []).append(under)
                shown += 1
    extras_of = tuple(
        (spellings.get(extra, extra), tuple(each))
        for extra, each in groups.items()
        if each or extra not in left_out
    )
    return Needs(
        tuple(needed), extras_of, max(0, len(requirements) - MOST) + sum(left_out.values())
    )


def need_of(text: str) -> Need:
    """Parse one requirement for display."""
    from packaging.requirements import (
        InvalidRequirement,
        Requirement,
    )  # imported here: no page for installers needs it

    try:
        read = Requirement(text)
        project = project_name(read.name)
    except (InvalidRequirement, BadName, RecursionError):
        return Need(_shown(text))
    version = _shown(f"@ {read.url}" if read.url else str(read.specifier))
    marker = "" if read.marker is None else str(read.marker)
    return Need(read.name, project, tuple(sorted(read.extras)[:MOST_EXTRAS]), version, marker)


def _shown(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _plain(extra: str) -> str:
    return _RUNS.sub("-", extra).lower()


def _without_extra(marker: str) -> str:
    """Return the marker without its ``extra == "..."``, if that is clearly one of several
    conditions joined by ``and``.
    """
    conditions = _conditions(marker)
    if conditions is None:
        return marker
    rest = [part for part in conditions if not _EXTRA.fullmatch(part.strip())]
    return (
        " and ".join(part.strip() for part in rest) if len(rest) == len(conditions) - 1 else marker
    )


def _conditions(marker: str) -> list[str] | None:
    """Return the operands of the outermost ``and``s; None if there is an outermost ``or``."""
    operands, depth, begun = [], 0, 0
    for token in re.finditer(r"'[^']*'|\"[^\"]*\"|[()]|\band\b|\bor\b", marker):
        match token[0]:
            case "(":
                depth += 1
            case ")":
                depth -= 1
            case "or" if depth == 0:
                return None
            case "and" if depth == 0:
                operands.append(marker[begun : token.start()])
                begun = token.end()
            case _:
                pass
    return [*operands, marker[begun:]]
