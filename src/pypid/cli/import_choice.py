"""Choose whether projects that also exist upstream are imported as local or as cached."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from pypid.cli.grammar import argument
from pypid.cli.output import counted, printable

ALL = "all"
_MEANING = (
    "Local: upstream is never asked for the project, so none of its new releases appear, such as "
    "security updates.\nCached: the files are moved to the cache, and new releases appear."
)


@frozen
class ImportChoice:
    """The projects to import as local and as cached: normalised names, or `ALL`."""

    local: frozenset[str] = frozenset()
    cached: frozenset[str] = frozenset()

    @classmethod
    def of(cls, options: argparse.Namespace) -> ImportChoice:
        """Return the choice that the options make. Exits if they contradict each other."""
        choice = cls(_names(options.local), _names(options.cached))
        both = sorted((choice.local & choice.cached) - {ALL})
        if both:
            sys.exit(f"pypid: {both[0]!r} is in --local and in --cached; nothing was imported")
        return choice

    @property
    def needs_no_survey(self) -> bool:
        """Whether all projects are local, whatever exists upstream."""
        return ALL in self.local and not self.cached

    def is_cached(self, match: Mapping[str, Any]) -> bool | None:
        """Return whether a project that exists upstream is to be cached; None if the options do not
        say so. ``--cached all`` is about projects with at least one file of upstream's.
        """
        if match["project"] in self.local:
            return False
        if match["project"] in self.cached:
            return True
        if ALL in self.cached and match["same"]:
            return True
        return False if ALL in self.local else None


OPTIONS = (
    argument(
        "--local",
        metavar="NAME",
        action="append",
        default=[],
        help="import this project as local although it also exists upstream; all: every project",
    ),
    argument(
        "--cached",
        metavar="NAME",
        action="append",
        default=[],
        help="move the files of this project that upstream lists with the same hash to the cache; "
        "all: every project with such files",
    ),
)
"""The options that make the choice."""


def choose(
    choice: ImportChoice, matches: Sequence[Mapping[str, Any]], *, asks: bool
) -> frozenset[str]:
    """Return the projects to be cached; without an option for a project, ask for it on the terminal
    if the command `asks`. Raises `ControlRefused` if nothing is to be imported.
    """
    from pypid.daemon.control import ControlRefused

    cached = {match["project"] for match in matches if choice.is_cached(match)}
    open_matches = [match for match in matches if choice.is_cached(match) is None]
    if not open_matches:
        return frozenset(cached)
    for line in map(_line, open_matches):
        print(line, file=sys.stderr)
    names = ", ".join(match["project"] for match in open_matches)
    if not asks:
        raise ControlRefused(
            f"{counted(len(open_matches), 'project')} of the folder also exist upstream: "
            f"{names}. Nothing was imported.\n{_MEANING}\nSay which: --cached NAME or --cached "
            "all, --local NAME or --local all."
        )
    print(_MEANING, file=sys.stderr)
    for match in open_matches:
        if _answer(match["project"]) == "cached":
            cached.add(match["project"])
    return frozenset(cached)


def _answer(project: str) -> str:
    """Return ``local`` or ``cached``, as typed. Raises `ControlRefused` if the user quits."""
    from pypid.daemon.control import ControlRefused

    answers = {"l": "local", "c": "cached", "q": "quit"}
    while True:
        print(f"{project}: local, cached or quit? [l/c/q] ", end="", file=sys.stderr, flush=True)
        typed = sys.stdin.readline()
        answer = answers.get(typed.strip()[:1].lower(), "")
        if answer == "quit" or not typed:
            raise ControlRefused("Nothing was imported.")
        if answer:
            return answer


def _line(match: Mapping[str, Any]) -> str:
    """Return what upstream has of a project's files."""
    same, other = len(match["same"]), [key.rpartition("/")[2] for key in match["other"]]
    details = [f"{counted(same, 'file')} with upstream's hash"] if same else []
    if other:
        shown = ", ".join(other[:3]) + (" ..." if len(other) > 3 else "")
        details.append(f"{counted(len(other), 'file')} that upstream does not have: {shown}")
    return printable(f"{match['project']} also exists upstream: {'; '.join(details)}")


def _names(words: Sequence[str]) -> frozenset[str]:
    """Return the names normalised (PEP 503)."""
    return frozenset(re.sub(r"[-_.]+", "-", word).lower() for word in words)
