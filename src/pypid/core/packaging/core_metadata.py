"""Core metadata (METADATA and PKG-INFO), and the dependencies that it declares.

Sources: packaging.python.org "Core metadata specifications", versions 1.0 (PEP 241) to 2.6. Read
leniently, as installers do: unknown fields are ignored, odd bytes are tolerated, only the fields
that an index needs (name, version, Requires-Python) are checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.errors import MessageError
from types import MappingProxyType
from typing import Any

from attrs import evolve, field, frozen
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from pypid.core.errors import BadName, shortened
from pypid.core.packaging.names import ProjectName, project_name, version_of

LONGEST_METADATA = 8 << 20
"""Bytes of METADATA or PKG-INFO; on PyPI the largest, with a manual, are below 1 MiB."""

_MOST_LINES = 200_000
_MOST_FIELDS = 10_000
_MOST_NAMES = 200
"""Maximum number of lines, of fields, and of different field names (the specification has some 35).
The parser takes 9 s for 10,000 different names, and a hundred times as long for ten times as many;
within these bounds it takes half a second at most.
"""
_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:", re.MULTILINE)
_LONGEST_SPECIFIER = 500
"""Characters. Installers fail on the whole page over a number of more than 4,300 digits."""

_LONGEST_REQUIREMENT = 10_000
"""Characters. Markers that tools write for many platforms have some thousand."""
_JUDGED_REQUIREMENTS = 256 << 10
"""Characters of all requirements that are checked: parsing takes up to 4 s for each MiB."""

_LONGEST_SUMMARY = 512
"""The length to which the specification's readers (and PyPI) cut a summary."""
_METADATA_VERSION = re.compile(r"([0-9]{1,4})(\.[0-9]{1,4})?\Z")
_MAJOR = 2
"""The specification: refuse metadata of a greater major version, accept a greater minor one."""
KNOWN_VERSIONS = f"versions 1.0 to {_MAJOR}.x are"
_UNKNOWN = "UNKNOWN"
"""What distutils writes for an unknown value."""
_WORDS = {
    "metadata-version": "metadata_version",
    "name": "name",
    "version": "version",
    "requires-python": "requires_python",
}


@frozen(kw_only=True)
class CoreMetadata:
    """Parsed core metadata. Texts are as written, stripped; absent and ``UNKNOWN`` are None.

    `problems` is what forbids publishing; it is empty for acceptable metadata.
    """

    metadata_version: str | None = None
    name: str | None = None
    project: ProjectName | None = None
    """`name`, normalised; None if it is absent or invalid."""
    version: str | None = None
    """PEP 440 normalised; None if it is absent or invalid."""
    requires_python: str | None = None
    summary: str | None = None
    """One line, at most 512 characters."""
    dynamic: frozenset[str] = frozenset()
    """The fields that the build may change (PEP 643), lower-case, as ``requires-dist``."""
    fields: Mapping[str, Any] = field(factory=dict, repr=False)
    """Everything that `packaging.metadata.parse_email` parsed: its `RawMetadata`
    (``requires_dist``, ``classifiers``, ...).
    """
    problems: tuple[str, ...] = ()

    def is_since(self, major: int, minor: int) -> bool:
        """Return whether `metadata_version` is this one or a later one."""
        match = _METADATA_VERSION.match(self.metadata_version or "")
        return match is not None and (int(match[1]), int((match[2] or ".0")[1:])) >= (major, minor)


def read_metadata(data: bytes) -> CoreMetadata:
    """Parse a METADATA or PKG-INFO file. Never raises; problems are in `problems`."""
    if len(data) > LONGEST_METADATA:
        return CoreMetadata(
            problems=(f"the metadata is longer than {LONGEST_METADATA >> 20} MiB.",)
        )
    excess = _excess(data)
    if excess is not None:
        return CoreMetadata(
            problems=(f"the metadata has more than the {excess} that are allowed.",)
        )
    from packaging.metadata import (
        parse_email,
    )  # imported here: no page needs it, and it loads all licenses

    try:
        raw, unparsed = parse_email(data)
    except (
        ValueError,
        LookupError,
        MessageError,
        RecursionError,
    ) as error:  # the email parser, on hostile bytes
        return CoreMetadata(problems=(f"the metadata cannot be read: {shortened(str(error))}",))
    fields: dict[str, Any] = dict(raw)
    problems: list[str] = []
    for key, word in _WORDS.items():
        if len(set(unparsed.get(key, ()))) > 1:
            problems.append(f"the metadata has several {key.title()} fields that differ; keep one.")
        elif key in unparsed and word not in fields:
            fields[word] = unparsed[key][0]
    texts = {word: _text(fields.get(word)) for word in _WORDS.values()}
    _judge_metadata_version(texts["metadata_version"], problems)
    return CoreMetadata(
        metadata_version=texts["metadata_version"],
        name=texts["name"],
        project=_project(texts["name"], problems),
        version=_version(texts["version"], problems),
        requires_python=python_specifier(texts["requires_python"], problems),
        summary=summary_line(fields.get("summary")),
        dynamic=frozenset(name.strip().lower() for name in fields.get("dynamic", ())),
        fields=MappingProxyType(fields),
        problems=tuple(problems),
    )


def _excess(data: bytes) -> str | None:
    """Return which limit of the email parser is exceeded; None if the metadata may be parsed."""
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if data.count(b"\n") > _MOST_LINES:
        return f"{_MOST_LINES} lines"
    names = _FIELD.findall(data.partition(b"\n\n")[0])
    if len(names) > _MOST_FIELDS:
        return f"{_MOST_FIELDS} fields"
    if len({name.lower() for name in names}) > _MOST_NAMES:
        return f"{_MOST_NAMES} different fields"
    return None


def _text(value: object) -> str | None:
    """Return a field's text, or None if it is empty or unknown."""
    text = value.strip() if isinstance(value, str) else ""
    return None if text in ("", _UNKNOWN) else text


def _judge_metadata_version(text: str | None, problems: list[str]) -> None:
    if text is None:
        problems.append(
            "the metadata has no Metadata-Version: build the file again with a current build tool."
        )
        return
    if not is_metadata_version(text):
        problems.append(
            f"the Metadata-Version {shortened(text)!r} is not known here: {KNOWN_VERSIONS}."
        )


def is_metadata_version(text: str) -> bool:
    """Return whether this is a version of core metadata that may be published."""
    match = _METADATA_VERSION.match(text)
    return match is not None and 1 <= int(match[1]) <= _MAJOR


def _project(name: str | None, problems: list[str]) -> ProjectName | None:
    if name is None:
        problems.append("the metadata has no Name.")
        return None
    try:
        return project_name(name)
    except BadName as error:
        problems.append(f"the Name in the metadata: {error}")
        return None


def _version(text: str | None, problems: list[str]) -> str | None:
    if text is None:
        problems.append("the metadata has no Version.")
        return None
    try:
        return str(version_of(text))
    except ValueError:
        problems.append(
            f"the Version {shortened(text)!r} in the metadata is not a version (PEP 440)."
        )
        return None


def python_specifier(text: str | None, problems: list[str]) -> str | None:
    """Return a Requires-Python on one line; None, with a line in `problems`, if it is not a version
    specifier (PEP 440).
    """
    if text is None:
        return None
    one_line = " ".join(text.split())
    try:
        if len(one_line) > _LONGEST_SPECIFIER:
            raise InvalidSpecifier(f"longer than {_LONGEST_SPECIFIER} characters")
        SpecifierSet(one_line)
    except InvalidSpecifier:
        problems.append(
            f"Requires-Python {shortened(text)!r} is not a version specifier: write it as '>=3.9' "
            "or '>=3.9,<4'."
        )
        return None
    return one_line


def requirement_problems(metadata: CoreMetadata) -> tuple[str, ...]:
    """Return problems with the Requires-Dist by which installers resolve dependencies; the first
    three only.

    Not part of `CoreMetadata.problems`: already stored files with such metadata stay published.
    """
    problems: list[str] = []
    room = _JUDGED_REQUIREMENTS
    for text in metadata.fields.get("requires_dist", ()):
        room -= len(text)
        if room < 0 or len(problems) == 3:
            break
        if not _is_requirement(text):
            problems.append(
                f"Requires-Dist {shortened(text)!r} is not a dependency specifier (PEP 508), and "
                "pip does not install the file: write it as 'eggs>=1.0'."
            )
    return tuple(problems)


def _is_requirement(text: str) -> bool:
    from packaging.requirements import Requirement  # imported here: no page needs it

    if len(text) > _LONGEST_REQUIREMENT:
        return False
    try:
        Requirement(text)
    except (
        ValueError,
        RecursionError,
    ):  # InvalidRequirement is a ValueError, as are errors that it does not wrap
        return False
    return True


def summary_line(value: object) -> str | None:
    """Return a summary as one line of at most 512 characters, or None if `value` is empty."""
    words = (_text(value) or "").split()
    return (
        "".join(letter for letter in " ".join(words) if letter.isprintable())[:_LONGEST_SUMMARY]
        or None
    )


# The dependencies of a release: its Requires-Dist, grouped by extra, for display.
#
# Sources: "Dependency specifiers" (PEP 508), core metadata's Requires-Dist and Provides-Extra.
# What cannot be parsed is shown as it is.

MOST = 300
"""Maximum number of requirements parsed and shown, each counted once per extra that requires it;
the largest known release has some hundred.
"""
MOST_EXTRAS = 100
LONGEST = 300
"""Maximum length in characters of a name, a version (or an address) and a marker as shown."""
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]{1,100})['"]|['"]([^'"]{1,100})['"]\s*==\s*extra""")
_IN_PARENTHESES = re.compile(r"\([^()]*\)")
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
    """Return the marker without its ``extra == "..."``, if that is the last of several conditions
    joined by ``and``, as build tools write it.
    """
    rest, _, last = marker.rpartition(" and ")
    if _EXTRA.fullmatch(last) and " or " not in _IN_PARENTHESES.sub("", rest):
        return rest
    return marker
