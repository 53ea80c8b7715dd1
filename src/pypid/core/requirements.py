"""What a ``requirements.txt`` asks for, line by line. Pure.

Source: pip's "Requirements File Format" (comments, continued lines, options), PEP 508 (the requirements themselves). A
line that cannot be collected is no error: it is told, with the reason, and the others go on.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import field, frozen

from pypid.core.errors import BadName, BadRequest
from pypid.core.names import ProjectName, project_name

if TYPE_CHECKING:
    from packaging.requirements import Requirement

LARGEST = 1 << 20
"""Characters of one file."""
MOST = 2000
"""Requirements in one file."""
LONGEST = 2000
"""Characters of one requirement, without its hashes."""

_COMMENT = re.compile(r"(^|\s+)#.*$")
_HASH = re.compile(r"(sha256|sha384|sha512|sha1|md5)[:=]([0-9a-fA-F]{32,128})\Z")

ELSEWHERE = "it names a place, not a project of an index: only what lies on an index can be collected"
NESTED = "other files are not read from here: send them along (several -r, or the field several times)"
CONSTRAINTS = "constraints are not taken: write the versions into the requirements"
ANOTHER_INDEX = "everything is collected from this index"
NO_MEANING = "it has no meaning here: what is collected is chosen for the platforms and Pythons that are asked for"
NO_OPTION = "this option is not known"

_REFUSED = {
    "-r": NESTED,
    "--requirement": NESTED,
    "-c": CONSTRAINTS,
    "--constraint": CONSTRAINTS,
    "-e": ELSEWHERE,
    "--editable": ELSEWHERE,
}
_IGNORED = {
    **dict.fromkeys(
        ("-i", "--index-url", "--pypi-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host"),
        ANOTHER_INDEX,
    ),
    **dict.fromkeys(
        ("--no-binary", "--only-binary", "--prefer-binary", "--use-feature", "--require-hashes", "--process-dependency-links"),
        NO_MEANING,
    ),
}
_OF_ONE = frozenset({"--global-option", "--install-option", "--config-setting", "--config-settings", "-C"})
"""Options that pip takes behind a requirement, and that mean something to a build only."""


_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@frozen
class Remark:
    """A line about which there is something to say: the line as it stands in the file (joined, without comments), and what."""

    line: str
    reason: str


@frozen
class Wanted:
    """One requirement. `text` is its normal form; `hashes` are ``(algorithm, lower-case hex)``, any of which will do."""

    line: str
    project: ProjectName
    requirement: Requirement = field(eq=False)
    text: str
    hashes: frozenset[tuple[str, str]] = frozenset()


@frozen
class Requirements:
    """A file, taken apart. `prereleases`: it says ``--pre``."""

    wanted: tuple[Wanted, ...] = ()
    unparseable: tuple[Remark, ...] = ()
    ignored: tuple[Remark, ...] = ()
    prereleases: bool = False

    def __add__(self, other: Requirements) -> Requirements:
        return Requirements(
            self.wanted + other.wanted,
            self.unparseable + other.unparseable,
            self.ignored + other.ignored,
            self.prereleases or other.prereleases,
        )


def parse_requirements(text: str) -> Requirements:
    """All the lines of `text`. Raises `BadRequest` only for a file that is beyond the limits."""
    if len(text) > LARGEST:
        raise BadRequest(f"A requirements file may have {LARGEST} characters: divide this one.")
    wanted: list[Wanted] = []
    unparseable: list[Remark] = []
    ignored: list[Remark] = []
    prereleases = False
    for line in logical_lines(text):
        if line == "--pre":
            prereleases = True
            continue
        try:
            found, without = _read(line)
        except ValueError as error:
            unparseable.append(Remark(line, str(error)))
            continue
        ignored += (Remark(line, f"{option}: {reason}") for option, reason in without)
        if found is not None:
            wanted.append(found)
    if len(wanted) > MOST:
        raise BadRequest(f"A requirements file may have {MOST} requirements, and this one has {len(wanted)}: divide it.")
    return Requirements(tuple(wanted), tuple(unparseable), tuple(ignored), prereleases)


def logical_lines(text: str) -> Iterator[str]:
    """The lines that say something: continued ones joined, without comments, as pip reads them."""
    for line in _joined(text.removeprefix("\ufeff")):
        said = _COMMENT.sub("", line).strip()
        if said:
            yield said


def _joined(text: str) -> Iterator[str]:
    """A backslash at the end goes on in the next line; a comment ends what is continued (pip, ``req_file.join_lines``)."""
    parts: list[str] = []
    for line in text.splitlines():
        if line.endswith("\\") and not _COMMENT.match(line):
            parts.append(line.strip("\\"))
            continue
        parts.append(f" {line}" if _COMMENT.match(line) else line)
        yield "".join(parts)
        parts.clear()
    if parts:
        yield "".join(parts)


def _read(line: str) -> tuple[Wanted | None, list[tuple[str, str]]]:
    """The requirement of a line, and the options of it that mean nothing here. Raises `ValueError` with the reason."""
    before, options = _options(line)
    if before:
        return _requirement(line, before, options)
    name = options[0][0]
    if name in _REFUSED:
        raise ValueError(_REFUSED[name])
    unknown = next((option for option, _ in options if option not in _IGNORED), None)
    if unknown is not None:
        raise ValueError(f"{unknown[:80]}: {NO_OPTION}")
    return None, [(option, _IGNORED[option]) for option, _ in options]


def _options(line: str) -> tuple[str, list[tuple[str, str]]]:
    """What stands before the first option, and the options with their values."""
    words = line.split(" ")
    begin = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    before = " ".join(words[:begin]).strip()
    try:
        rest = shlex.split(" ".join(words[begin:]))
    except ValueError as error:
        raise ValueError(f"its quotation marks do not match ({error})") from None
    options: list[tuple[str, str]] = []
    for word in rest:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            options.append((name, value))
        elif word.startswith("-"):
            options.append((word[:2], word[2:]))
        elif options:
            options[-1] = (options[-1][0], f"{options[-1][1]} {word}".strip())
    return before, options


def _requirement(line: str, before: str, options: list[tuple[str, str]]) -> tuple[Wanted, list[tuple[str, str]]]:
    hashes: set[tuple[str, str]] = set()
    ignored: list[tuple[str, str]] = []
    for name, value in options:
        if name == "--hash":
            hashes.add(_hash(value))
        elif name in _OF_ONE:
            ignored.append((name, NO_MEANING))
        else:
            raise ValueError(f"{name[:80]}: {NO_OPTION}")
    requirement = _parsed(before)
    try:
        project = project_name(requirement.name)
    except BadName as error:
        raise ValueError(str(error)) from None
    return Wanted(line, project, requirement, str(requirement), frozenset(hashes)), ignored


def _hash(value: str) -> tuple[str, str]:
    match = _HASH.match(value)
    if match is None:
        raise ValueError(f"--hash={value[:80]} is not sha256:..., in hexadecimal")
    return match[1], match[2].lower()


def _parsed(text: str) -> Requirement:
    if len(text) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    from packaging.requirements import InvalidRequirement, Requirement  # here, since no page needs it

    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        if "/" in text:
            raise ValueError(ELSEWHERE) from None
        raise ValueError(f"it is not a requirement (PEP 508): {str(error).splitlines()[0]}") from None
    except (ValueError, RecursionError):  # a version of thousands of digits, thousands of parentheses
        raise ValueError("it is not a requirement that can be read (PEP 508)") from None
    if requirement.url is not None or requirement.name.lower().endswith(_ARCHIVES):  # to pip a file, where there is one
        raise ValueError(ELSEWHERE)
    return requirement
