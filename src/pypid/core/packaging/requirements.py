"""Parsing ``requirements.txt``, line by line. Pure.

Source: pip's "Requirements File Format" (comments, continued lines, options), PEP 508 (the
requirements themselves). A line that cannot be collected is not an error: it is reported with the
reason, and the others are processed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from attrs import field, frozen

from pypid.core.errors import BadName, BadRequest
from pypid.core.packaging.names import ALL_SDIST_SUFFIXES, ProjectName, project_name

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

LARGEST = 1 << 20
"""Maximum length in characters of all files of one collection."""
MOST = 2000
"""Maximum number of requirements of one collection."""
MOST_LINES = 10_000
"""Maximum number of logical lines of one collection."""
LONGEST = 2000
"""Maximum length in characters of one requirement, without its hashes."""
LONGEST_LINE = 128 << 10
"""Maximum length in characters of one logical line: room for 1,000 hashes."""
MOST_CLAUSES = 50
"""Maximum number of clauses of a version specifier (``>=1,<2`` has two)."""

# Every pattern here is linear in the length of the line: no repeated part can match the same text
# in two ways.
_COMMENT = re.compile(r"(?:^|\s)#")
_WORD = re.compile(r"""[ \t]*((?:[^ \t'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*+")++)""", re.DOTALL)
_QUOTING = re.compile(r"""\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*+)\"""", re.DOTALL)
_ESCAPE = re.compile(r"""\\(["\\])""")
_HASH = re.compile(r"(sha256|sha384|sha512|sha1|md5)[:=]([0-9a-fA-F]{32,128})\Z")

ELSEWHERE = "it names a file, a folder or a URL: write the name of a project of this index"
NESTED = (
    "other files are not read from here: send them along (several -r, or the field several times)"
)
CONSTRAINTS = "constraints are not taken: write the versions into the requirements"
ANOTHER_INDEX = "everything is collected from this index"
NO_MEANING = (
    "it has no meaning here: what is collected is chosen for the requested platforms and Pythons"
)
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
        (
            "-i",
            "--index-url",
            "--pypi-url",
            "--extra-index-url",
            "--no-index",
            "-f",
            "--find-links",
            "--trusted-host",
        ),
        ANOTHER_INDEX,
    ),
    **dict.fromkeys(
        (
            "--no-binary",
            "--only-binary",
            "--prefer-binary",
            "--use-feature",
            "--require-hashes",
            "--process-dependency-links",
        ),
        NO_MEANING,
    ),
}
_OF_ONE = frozenset(
    {"--global-option", "--install-option", "--config-setting", "--config-settings", "-C"}
)
"""Options that pip accepts after a requirement, and that matter only to a build."""


_ARCHIVES = (".whl", *ALL_SDIST_SUFFIXES)


@frozen
class Remark:
    """A remark on a line: the line as it is in the file (joined, without comments), and the
    reason.
    """

    line: str
    reason: str


@frozen
class RequirementLine:
    """One requirement. `text` is its normal form; `hashes` are ``(algorithm, lower-case hex)``, any
    of which is acceptable.
    """

    line: str
    project: ProjectName
    text: str
    specifiers: str = ""
    """Its version clauses, as PEP 440 spells them."""
    marker: str = field(default="", eq=False)
    """The condition (PEP 508); empty: always."""
    hashes: frozenset[tuple[str, str]] = frozenset()

    @property
    def specifier(self) -> SpecifierSet:
        """The allowed versions."""
        from packaging.specifiers import SpecifierSet  # imported here: no page needs it

        return SpecifierSet(self.specifiers)


@frozen
class Requirements:
    """Parsed requirements files. `prereleases`: they contain ``--pre``."""

    wanted: tuple[RequirementLine, ...] = ()
    unparseable: tuple[Remark, ...] = ()
    ignored: tuple[Remark, ...] = ()
    prereleases: bool = False


def parse_requirements(*texts: str) -> Requirements:
    """Parse the text of requirements files. Raises `BadRequest` only if they exceed the limits.

    Time and memory are linear in the length of the texts.
    """
    if sum(map(len, texts)) > LARGEST:
        raise BadRequest(
            f"Requirements may have {LARGEST} characters in one collection: divide them."
        )
    wanted: list[RequirementLine] = []
    unparseable: list[Remark] = []
    ignored: list[Remark] = []
    prereleases = False
    for line in _bounded(line for text in texts for line in logical_lines(text)):
        if line == "--pre":
            prereleases = True
            continue
        try:
            found, without = _read(line)
        except ValueError as error:
            unparseable.append(Remark(line, str(error)))
            continue
        # Each option once: otherwise a line of thousands of them is repeated in the response for
        # each remark.
        ignored += (
            Remark(line, f"{option}: {reason}") for option, reason in dict.fromkeys(without)
        )
        if found is not None:
            wanted.append(found)
        if len(wanted) > MOST:
            raise BadRequest(f"A collection may have {MOST} requirements: divide this one.")
    return Requirements(tuple(wanted), tuple(unparseable), tuple(ignored), prereleases)


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines. Raises `BadRequest` for too many of them, and for one that is too long."""
    for number, line in enumerate(lines, 1):
        if number > MOST_LINES:
            raise BadRequest(
                f"Requirements may have {MOST_LINES} lines in one collection: divide them."
            )
        if len(line) > LONGEST_LINE:
            raise BadRequest(
                f"A line of requirements may have {LONGEST_LINE} characters; {line[:80]!r}... is "
                "longer."
            )
        yield line


def logical_lines(text: str) -> Iterator[str]:
    """Yield the lines with content: continued ones joined, without comments, as pip reads them."""
    for line in _joined(text.removeprefix("\ufeff")):
        comment = _COMMENT.search(line)
        text = (line if comment is None else line[: comment.start()]).strip()
        if text:
            yield text


def _joined(text: str) -> Iterator[str]:
    """Join lines continued by a backslash; a comment ends the continuation (pip,
    ``req_file.join_lines``).
    """
    lines: list[str] = []
    for line in text.splitlines():
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            lines.append(line.strip("\\"))
            continue
        lines.append(f" {line}" if is_comment else line)
        yield "".join(lines)
        lines.clear()
    if lines:
        yield "".join(lines)


def _read(line: str) -> tuple[RequirementLine | None, list[tuple[str, str]]]:
    """Return the requirement of a line, and its options that are ignored. Raises `ValueError` with
    the reason.
    """
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
    """Return the text before the first option, and the options with their values."""
    words = line.split(" ")
    begin = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    before = " ".join(words[:begin]).strip()
    names: list[str] = []
    values: list[list[str]] = []
    for word in _words(" ".join(words[begin:])):
        if word.startswith("--"):
            name, _, value = word.partition("=")
            names.append(name)
            values.append([value])
        elif word.startswith("-"):
            names.append(word[:2])
            values.append([word[2:]])
        elif names:
            values[-1].append(word)
    return before, [
        (name, " ".join(value).strip()) for name, value in zip(names, values, strict=True)
    ]


def _words(text: str) -> Iterator[str]:
    """Yield the words of a line as a shell splits them. Raises `ValueError` for an open quotation.

    `shlex.split` takes quadratic time in the length of a word.
    """
    end = 0
    while end < len(text):
        match = _WORD.match(text, end)
        if match is None:
            raise ValueError("its quotation marks do not match (No closing quotation)")
        yield _QUOTING.sub(_unquoted, match[1])
        end = match.end()


def _unquoted(match: re.Match[str]) -> str:
    escaped, single, double = match.groups()
    if double is not None:
        return _ESCAPE.sub(r"\1", double)
    return single if single is not None else escaped


def _requirement(
    line: str, before: str, options: list[tuple[str, str]]
) -> tuple[RequirementLine, list[tuple[str, str]]]:
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
    marker = "" if requirement.marker is None else str(requirement.marker)
    return RequirementLine(
        line, project, str(requirement), str(requirement.specifier), marker, frozenset(hashes)
    ), ignored


def _hash(value: str) -> tuple[str, str]:
    match = _HASH.match(value)
    if match is None:
        raise ValueError(f"--hash={value[:80]} is not sha256:..., in hexadecimal")
    return match[1], match[2].lower()


def _parsed(text: str) -> Requirement:
    if len(text) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    from packaging.requirements import (
        InvalidRequirement,
        Requirement,
    )  # imported here: no page needs it

    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        if "/" in text:
            raise ValueError(ELSEWHERE) from None
        raise ValueError(
            f"it is not a requirement (PEP 508): {str(error).splitlines()[0]}"
        ) from None
    except (
        ValueError,
        RecursionError,
    ):  # a version of thousands of digits, or thousands of parentheses
        raise ValueError("it is not a requirement that can be read (PEP 508)") from None
    if len(requirement.specifier) > MOST_CLAUSES:
        raise ValueError(f"it has more than {MOST_CLAUSES} clauses about versions")
    if requirement.url is not None or requirement.name.lower().endswith(
        _ARCHIVES
    ):  # pip takes it for a file if one exists
        raise ValueError(ELSEWHERE)
    return requirement
