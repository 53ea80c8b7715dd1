"""A list of files as the source of an export: its lines, and what a name alone says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import msgspec
from attrs import define, field, frozen
from packaging.version import Version
from twisted.internet.task import Clock

from pypid.core.errors import BadFilename, BadName, BadRequest, PypidError, shortened
from pypid.core.export_request import ExportedIndex
from pypid.core.model import File, Project, Summary, in_order
from pypid.core.packaging.names import ProjectName, project_and_version, project_name
from pypid.core.policy import Policy
from pypid.core.summaries import in_runs
from pypid.export.exporter import Progress, export
from pypid.export.source import ExportView
from pypid.export.targets import Copy, FolderPlace
from pypid.export.tree import ExportOptions
from pypid.export.tree_state import Fingerprint, TreeBasis
from pypid.flow import World, at_once
from pypid.ports import Body

# The project and version of a file of a list by its name alone, as dumb-pypi guesses and as the
# specifications say.
#
# An administrator who replaces dumb-pypi keeps each link at its place; so dumb-pypi's guess comes
# first, and the specifications are used if it has none, or one without a version. (dumb-pypi 1.15;
# packaging.python.org, "Binary distribution format" and "Source distribution format".)

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


# Parses a list of files: one name per line, or one JSON object per line with the keys of
# dumb-pypi.
#
# A file with an invalid name or hash is left out and noted, as dumb-pypi does. A line that is no
# such object at all, for example because the list was cut off, invalidates the list
# (`BadPackageList`): files would be missing and could not be installed.

LONGEST_LINE = 1 << 20
"""Bytes; a line of JSON with some thousand requirements is shorter."""
MOST_NOTES = 100
"""Number of remarks whose text is kept."""
_HASH = re.compile(r"([A-Za-z0-9_]+)=([0-9A-Fa-f]+)\Z").match


class PackageListEntry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The entry of one file in a list; keys and order are those of dumb-pypi, `size` (bytes) is an
    addition (PEP 700).
    """

    filename: str
    hash: str | None = None
    """``algorithm=hex``."""
    requires_dist: list[str] | None = None
    requires_python: str | None = None
    upload_timestamp: int | float | None = None
    """Seconds since 1970."""
    uploaded_by: str | None = None
    yanked_reason: str | None = None
    """None or empty: the file is not yanked."""
    core_metadata: str | bool | None = None
    """``true`` or ``algorithm=hex``: ``<url>.metadata`` exists."""
    size: int | None = None


class _Strict(PackageListEntry, frozen=True, gc=False, forbid_unknown_fields=True):
    """An entry without unknown keys, to find those."""


@define(slots=False, repr=False)
class BadPackageList(
    PypidError,
    template=("{where} is no list of files; nothing was written:\n  line {line}: {problem}"),
):
    """Raised for a list that cannot be used, with the number of the first line that is wrong."""

    where: str
    line: int
    problem: str


@define
class PackageList:
    """The files of a list by project: file name to version and entry. `notes`: what was left out,
    and why.
    """

    projects: dict[ProjectName, dict[str, tuple[str, PackageListEntry]]] = field(factory=dict)
    notes: list[str] = field(factory=list)
    left_out: int = 0
    """Number of lines whose file is on no page."""

    def take(self, listed: PackageListEntry, number: int) -> None:
        """Add the file of a line. If a file is named twice, the later line counts."""
        try:
            found = places(listed.filename)
            _check(listed)
        except (BadFilename, ValueError) as error:
            problem = (
                str(error)
                if isinstance(error, BadFilename)
                else f"{shortened(listed.filename)!r}: {error}"
            )
            self.left_out += 1
            self.note(number, f"{problem} It is left out.")
            return
        for place in found:
            files = self.projects.setdefault(place.project, {})
            entry = (place.version, listed)
            if files.setdefault(listed.filename, entry) != entry:
                files[listed.filename] = entry
                self.note(
                    number,
                    (
                        f"{listed.filename!r} was named before, with other values; those of this "
                        "line are taken."
                    ),
                )

    def note(self, number: int, text: str) -> None:
        """Add a remark about a line."""
        if len(self.notes) < MOST_NOTES:
            self.notes.append(f"line {number}: {text}")
        elif len(self.notes) == MOST_NOTES:
            self.notes.append("... and more of that kind")


def _check(listed: PackageListEntry) -> None:
    """Raise `ValueError`, with what is wrong, for values that no page can contain."""
    if listed.hash and not _HASH(listed.hash):
        raise ValueError(f"hash is algorithm=hex, and not {shortened(listed.hash)!r}.")
    metadata = listed.core_metadata
    if isinstance(metadata, str) and metadata not in ("", "true", "false") and not _HASH(metadata):
        raise ValueError(
            f"core_metadata is true or algorithm=hex, and not {shortened(metadata)!r}."
        )
    if listed.upload_timestamp is not None:
        moment_of(listed.upload_timestamp)
    if listed.size is not None and listed.size < 0:
        raise ValueError("size is a number of bytes.")


def moment_of(timestamp: float) -> datetime:
    """Return the time, aware, in UTC. Raises `ValueError` for timestamps outside the calendar."""
    try:
        return datetime.fromtimestamp(timestamp, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            "upload_timestamp is no number of seconds since 1970 that a calendar has."
        ) from None


def read_names(lines: Iterable[bytes], where: str) -> PackageList:
    """Parse a list with one file name per line. Raises `BadPackageList` if it is no text."""
    read = PackageList()
    for number, line in enumerate(lines, 1):
        _check_length(line, number, where)
        try:
            filename = line.decode().strip("\r\n")
        except UnicodeDecodeError:
            raise BadPackageList(where, number, "it is no UTF-8.") from None
        if filename.strip():
            read.take(PackageListEntry(filename), number)
    return read


def read_json(lines: Iterable[bytes], where: str) -> PackageList:
    """Parse a list with one JSON object per line. Raises `BadPackageList` if a line is none, or has
    values of other types.
    """
    read = PackageList()
    strict, lenient = msgspec.json.Decoder(_Strict), msgspec.json.Decoder(PackageListEntry)
    unknown: set[str] = set()
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        _check_length(line, number, where)
        if line.isspace():
            continue
        try:
            listed: PackageListEntry = strict.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            try:
                listed = lenient.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise BadPackageList(where, number, f"{error}.") from None
            if str(error) not in unknown:
                unknown.add(str(error))
                read.note(number, f"{error}. That key is not looked at, here and further on.")
        read.take(_thrifty(listed, texts), number)
    return read


def _check_length(line: bytes, number: int, where: str) -> None:
    if len(line) > LONGEST_LINE:
        raise BadPackageList(where, number, f"it is longer than {LONGEST_LINE} bytes.")


def _thrifty(listed: PackageListEntry, texts: dict[str, str]) -> PackageListEntry:
    """Return an equal entry that shares texts that many lines have."""
    requires, by = listed.requires_python, listed.uploaded_by
    return PackageListEntry(
        listed.filename,
        listed.hash,
        listed.requires_dist,
        None if requires is None else texts.setdefault(requires, requires),
        listed.upload_timestamp,
        None if by is None else texts.setdefault(by, by),
        listed.yanked_reason,
        listed.core_metadata,
        listed.size,
    )


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a list; a line that is too long is split."""
    while line := stream.readline(LONGEST_LINE + 1):
        yield line


_encoder = msgspec.json.Encoder()


@frozen(eq=False)
class ListSource:
    """Shows all files of a list. It has no file itself: nothing can be copied or signed."""

    listed: PackageList
    world: World

    async def look(self) -> ExportView:
        names = sorted(self.listed.projects)
        return ExportView(in_runs([Summary(name, 0) for name in names]), serial=0)

    def basis(self, options: ExportOptions, look: ExportView) -> TreeBasis:
        return TreeBasis(options, Policy(), fetches=look.fetches, generation="list")

    def fingerprint(self, name: ProjectName) -> Fingerprint:
        entries = sorted(self.listed.projects[name].items())
        return (int.from_bytes(sha256(_encoder.encode(entries)).digest()[:7]), -1)

    async def project(self, name: ProjectName) -> tuple[Project, datetime | None] | None:
        files = self.listed.projects[name].values()
        shown = in_order(tuple(file_of(name, version, entry) for version, entry in files))
        return Project(name=name, files=shown), None

    async def metadata(self, project: Project, *, all: bool) -> tuple[dict[str, bytes], None]:
        return dict(self._described(project.name)), None

    def _described(self, name: ProjectName) -> Iterator[tuple[str, bytes]]:
        """Yield the requirements of each version as core metadata."""
        for version, entry in self.listed.projects[name].values():
            if entry.requires_dist:
                requires = (
                    f"Requires-Dist: {' '.join(one.split())}" for one in entry.requires_dist
                )
                head = ("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}")
                yield version, "\n".join((*head, *requires, "")).encode()

    async def url(self, file: File, lifetime: timedelta) -> str:
        raise BadRequest("The files of a list are in no bucket of pypid: no URL can be signed.")

    async def body(self, copy: Copy) -> Body:
        raise BadRequest("The files of a list cannot be copied.")


def file_of(project: ProjectName, version: str, entry: PackageListEntry) -> File:
    """Return the file as pages need it."""
    algorithm, value = _hash(entry.hash)
    declared = entry.core_metadata
    is_offered = bool(declared) and declared != "false"
    of_metadata = _hash(declared) if isinstance(declared, str) else ("", "")
    return File(
        project=project,
        filename=entry.filename,
        version=version,
        sha256=value if algorithm == "sha256" else None,
        md5=value if algorithm == "md5" else None,
        digest=None if algorithm in ("", "sha256", "md5") else f"{algorithm}={value}",
        size=entry.size,
        uploaded=None if entry.upload_timestamp is None else moment_of(entry.upload_timestamp),
        uploader=entry.uploaded_by,
        requires_python=entry.requires_python or None,
        # PEP 714 allows other hashes, too; a mere ``true`` stands for these
        metadata_sha256=of_metadata[1] if of_metadata[0] == "sha256" else None,
        metadata_offered=is_offered,
        yanked=entry.yanked_reason or None,
    )


def _hash(text: str | None) -> tuple[str, str]:
    algorithm, _, value = (text or "").lower().partition("=")
    return algorithm, value


def export_list(
    listed: PackageList,
    target: str,
    options: ExportOptions,
    now: datetime,
    *,
    clears: bool,
    verifies: bool,
    on_progress: Progress,
) -> ExportedIndex:
    """Write the pages of a list into a folder, without a reactor; else as `export`. Raises
    `OSError`.
    """
    world = World(Clock(), lambda: now, at_once, os.urandom, at_once)
    place = FolderPlace(str(Path(target).absolute()), world, compressed=False)

    async def write() -> ExportedIndex:
        source = ListSource(listed, world)
        try:
            return await export(
                source,
                place,
                options,
                "list",
                target=target,
                clears=clears,
                verifies=verifies,
                on_progress=on_progress,
            )
        finally:
            await place.close()

    try:
        write().send(None)
    except StopIteration as ended:
        outcome: ExportedIndex = ended.value
        return outcome
    raise AssertionError("this world never waits")
