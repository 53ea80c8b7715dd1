"""Inspection of a distribution: its metadata, and all problems of the archive at once.

The metadata inside a distribution is authoritative; the fields in a client's form are a copy at
best.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from heapq import nsmallest
from typing import BinaryIO, assert_never

from attrs import define, field, frozen

from pypid.core.archives.members import (
    MemberProblems,
    UnusableArchive,
    path_components,
    path_problem,
)
from pypid.core.archives.tars import TarKind, TarMember, Unpacked, read_tar
from pypid.core.archives.zips import ZipEntry, read_entry, read_zip
from pypid.core.errors import shortened
from pypid.core.packaging.core_metadata import LONGEST_METADATA
from pypid.core.packaging.names import Distribution, Packagetype, same_version, valid_name

_NO_PKG_INFO = (
    "the sdist has no PKG-INFO in its top folder: build it with a build tool (python -m build "
    "--sdist)."
)
_MANY_TOPS = (
    "the sdist has several top folders, or files outside of its top folder; everything belongs "
    "into <name>-<version>/."
)


def sdist_metadata(file: BinaryIO, filename: str, findings: MemberProblems) -> bytes | None:
    """Return the PKG-INFO of an sdist (``.tar.gz``, ``.tgz``, ``.tar.bz2``, ``.tar.xz``, ``.zip``),
    or None; add problems to `findings`.

    A tar is read through once, in bounded memory; of a zip only the headers. Raises
    `UnusableArchive`.
    """
    return (
        _from_zip(file, findings)
        if filename.endswith(".zip")
        else _from_tar(file, filename, findings)
    )


def _from_zip(file: BinaryIO, findings: MemberProblems) -> bytes | None:
    entries = read_zip(file, findings, backslash=True)
    tops = {split[0] for split in map(path_components, entries) if split}
    if len(tops) != 1:
        findings.add(_MANY_TOPS)
    places = [
        entry
        for name, entry in entries.items()
        if _is_pkg_info(path_components(name)) and not entry.is_folder
    ]
    if not places:
        findings.add(_NO_PKG_INFO)
    return read_entry(file, places[0], LONGEST_METADATA) if len(places) == len(tops) == 1 else None


def _from_tar(file: BinaryIO, filename: str, findings: MemberProblems) -> bytes | None:
    stream = Unpacked(file, filename)
    reading = _Reading(stream, findings)
    for member in read_tar(stream):
        reading.take(member)
    stream.finish()
    return reading.result()


def _is_pkg_info(split: tuple[str, ...]) -> bool:
    return len(split) == 2 and split[1] == "PKG-INFO"


@define
class _Reading:
    """The state of reading a tar."""

    stream: Unpacked
    findings: MemberProblems
    tops: set[str] = field(factory=set)
    links: set[tuple[str, ...]] = field(factory=set)
    found: list[bytes] = field(factory=list)

    def take(self, member: TarMember) -> None:
        """Check one member."""
        split = path_components(member.name)
        problem = path_problem(member.name, backslash=True)
        if problem is not None:
            self.findings.add(problem)
            return
        if split and (len(self.tops) < 2):
            self.tops.add(split[0] if len(split) > 1 or member.kind is TarKind.FOLDER else "")
        if self.links and any(split[:length] in self.links for length in range(1, len(split) + 1)):
            self.findings.add(
                f"the sdist writes {shortened(member.name)!r} through a link; put a plain folder "
                "there."
            )
        if _is_pkg_info(split):
            self._take_pkg_info(member)
        if member.kind is TarKind.OTHER:
            self.findings.add(
                f"{shortened(member.name)!r} in the sdist is a {member.kind.value}; only files, "
                "folders and links may be."
            )
        elif member.kind in (TarKind.SYMLINK, TarKind.HARDLINK):
            self._take_link(member, split)

    def _take_pkg_info(self, member: TarMember) -> None:
        if member.kind is not TarKind.FILE:
            self.findings.add(
                f"the PKG-INFO of the sdist is a {member.kind.value}; put the file itself there."
            )
        elif self.found:
            self.findings.add("the sdist has several PKG-INFO files in its top folder.")
        elif member.size > LONGEST_METADATA:
            raise UnusableArchive(
                f"the PKG-INFO is larger than the {LONGEST_METADATA >> 20} MiB that are allowed."
            )
        else:
            self.found.append(self.stream.exactly(member.size))

    def _take_link(self, member: TarMember, split: tuple[str, ...]) -> None:
        if member.kind is TarKind.SYMLINK:
            self.links.add(split)
        if not stays_inside(member, split):
            self.findings.add(
                f"the {member.kind.value} {shortened(member.name)!r} in the sdist leads out of its "
                f"top folder ({shortened(member.link)!r}); put the file itself there."
            )

    def result(self) -> bytes | None:
        """Return the PKG-INFO, after the last member."""
        if len(self.tops) != 1 or "" in self.tops:
            self.findings.add(_MANY_TOPS)
        if not self.found:
            self.findings.add(_NO_PKG_INFO)
            return None
        return self.found[0]


def stays_inside(member: TarMember, split: tuple[str, ...]) -> bool:
    """Return whether a link's target is inside the archive's top folder, by the texts alone.

    ``..`` is allowed only at the beginning of a symbolic link's target: after a name, it would
    depend on whether that name is a link itself (``a -> .``, then ``a/a/../../..``).
    """
    target = member.link
    if path_problem(target.replace("..", "__"), backslash=False) is not None:
        return False
    steps = path_components(target)
    if member.kind is TarKind.HARDLINK:  # relative to the root of the archive
        return ".." not in steps and steps[:1] == split[:1]
    up = next((index for index, step in enumerate(steps) if step != ".."), len(steps))
    return ".." not in steps[up:] and up <= len(split) - 2


_LONGEST_WHEEL = 1 << 20
_LONGEST_RECORD = 64 << 20
_REST_OF_ROW = 256
"""Bytes of a row of RECORD in addition to the path: a hash, a size, commas."""
_LONGEST_ROW = 256 << 10
"""Characters of a quoted row; a path has at most 65,535 bytes (APPNOTE.TXT 4.4.10)."""
_SCRIPTS = ("console_scripts", "gui_scripts")
"""The groups of entry points that installers turn into files."""
_WHEEL_VERSION = re.compile(r"[01](\.[0-9]+)?\Z")
_REBUILD = "build the wheel again with a current build tool."


def wheel_metadata(
    file: BinaryIO, distribution: Distribution, findings: MemberProblems
) -> bytes | None:
    """Return the METADATA of a wheel, or None, and add problems. Raises `UnusableArchive`."""
    entries = read_zip(file, findings)
    infos = {
        name.split("/", 1)[0]
        for name in entries
        if name.split("/", 1)[0].endswith(".dist-info") and "/" in name
    }
    if len(infos) != 1:
        what = "no .dist-info folder" if not infos else "several .dist-info folders"
        findings.add(f"the wheel has {what}, where it needs one, named as the file is; {_REBUILD}")
        return None
    info = infos.pop()
    if not _is_named_for(info.removesuffix(".dist-info"), distribution):
        findings.add(
            f"the wheel's folder {shortened(info)!r} is not that of {distribution.filename}; do "
            "not rename wheels."
        )
    _judge_wheel(_member(file, entries, f"{info}/WHEEL", _LONGEST_WHEEL, findings), findings)
    _judge_record(
        _member(file, entries, f"{info}/RECORD", _largest_record(entries), findings),
        entries,
        info,
        findings,
    )
    _judge_scripts(file, entries, f"{info}/entry_points.txt", findings)
    return _member(file, entries, f"{info}/METADATA", LONGEST_METADATA, findings)


def egg_metadata(file: BinaryIO, findings: MemberProblems) -> bytes | None:
    """Return the PKG-INFO of an egg, or None, and add problems. Raises `UnusableArchive`."""
    entries = read_zip(file, findings)
    _judge_scripts(file, entries, "EGG-INFO/entry_points.txt", findings)
    return _member(file, entries, "EGG-INFO/PKG-INFO", LONGEST_METADATA, findings)


def _member(
    file: BinaryIO, entries: Mapping[str, ZipEntry], name: str, limit: int, findings: MemberProblems
) -> bytes | None:
    if name not in entries:
        findings.add(
            f"the archive lacks {shortened(name)!r}; build it again with a current build tool."
        )
        return None
    try:
        return read_entry(file, entries[name], limit)
    except UnusableArchive as problem:
        findings.add(str(problem))
        return None


def _is_named_for(stem: str, distribution: Distribution) -> bool:
    name, _, version = stem.rpartition("-")
    # old tools escape the + of a local version as _
    return valid_name(name) == distribution.project and any(
        same_version(spelled, distribution.version)
        for spelled in (version, version.replace("_", "+", 1), version.replace("_", "-"))
    )


def _judge_wheel(data: bytes | None, findings: MemberProblems) -> None:
    """Check the Wheel-Version: installers must refuse a major version above 1. Wheels of the older
    0.1 are installed by pip and uv.

    The Tags are not checked: pip, uv and PyPI use the file name only, and vendors rename
    ``linux_*`` wheels to ``manylinux_*`` without changing WHEEL, so a comparison would refuse
    wheels that every installer accepts.
    """
    if data is None:
        return
    from email.parser import BytesHeaderParser  # imported here: no page needs it

    version = str(BytesHeaderParser().parsebytes(data).get("Wheel-Version", "")).strip()
    if not _WHEEL_VERSION.match(version):
        findings.add(
            f"the wheel's WHEEL file says Wheel-Version {shortened(version)!r}; installers know "
            f"1.x and older ones only. Please {_REBUILD}"
        )


def _judge_scripts(
    file: BinaryIO, entries: Mapping[str, ZipEntry], name: str, findings: MemberProblems
) -> None:
    """Refuse scripts whose names lead out of the folder for scripts, as pip and uv do."""
    data = _member(file, entries, name, LONGEST_METADATA, findings) if name in entries else None
    group = ""
    for line in (data or b"").decode("utf-8", "replace").splitlines():
        line = line.strip()
        script, equals, _ = line.partition("=")
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1]
        elif (
            group in _SCRIPTS and equals and not line.startswith("#") and _leads_out(script.strip())
        ):
            findings.add(
                "entry_points.txt has a script that would be installed outside of the folder for "
                f"scripts: {shortened(script.strip())!r}; name it without a path."
            )


def _leads_out(script: str) -> bool:
    """Return whether a script's name leads out of its folder, or to the folder, on any system."""
    return path_problem(script, backslash=True) is not None or not path_components(
        script.replace("\\", "/")
    )


def _judge_record(
    data: bytes | None, entries: Mapping[str, ZipEntry], info: str, findings: MemberProblems
) -> None:
    """Compare RECORD with the members: it must name every file and no other (PyPI refuses
    differences since 2026).

    The hashes are left to installers. Time and memory are linear in the size of the archive: rows
    are not kept, and only the first names that are not members are collected.
    """
    if data is None:
        return
    itself = f"{info}/RECORD"
    exempt = {itself, f"{itself}.jws", f"{itself}.p7s"}
    members = {name for name, entry in entries.items() if not entry.is_folder} | exempt
    missing = set(members)
    strangers: dict[str, None] = {}
    try:
        for name in _recorded(data):
            missing.discard(name)
            if name not in members and not name.endswith("/") and len(strangers) < 3:
                strangers[name] = None
    except (UnicodeDecodeError, csv.Error):
        findings.add(f"the wheel's RECORD cannot be read as CSV in UTF-8; {_REBUILD}")
        return
    for name in strangers:
        findings.add(
            f"the wheel's RECORD names {shortened(name)!r}, which is not in the wheel; {_REBUILD}"
        )
    for name in nsmallest(3, missing - exempt):
        findings.add(
            f"the wheel's RECORD does not name {shortened(name)!r}, which is in the wheel; "
            f"{_REBUILD}"
        )


def _recorded(data: bytes) -> Iterator[str]:
    """Yield the paths of a RECORD, in its order. Raises `UnicodeDecodeError`, `csv.Error`.

    Each line is a row: a path with a line break in it would be refused anyway. A quoted row is
    parsed by itself, so that an open quotation, or a million commas, is one bad row and not a long
    list.
    """
    for line in io.TextIOWrapper(io.BytesIO(data), "utf-8", newline=""):
        path = line.split(",", 1)[0].rstrip("\r\n")
        if path.startswith('"'):
            if len(line) > _LONGEST_ROW:
                raise csv.Error("a row is too long")
            path = next(csv.reader((line,)))[0].rstrip("\r\n")
        if path:
            # pip, uv and the public index accept backslashes, which old tools on Windows wrote
            yield path.replace("\\", "/").removeprefix("./")


def _largest_record(entries: Mapping[str, ZipEntry]) -> int:
    """Return the maximum size in bytes of the RECORD of an archive with these members: two generous
    rows for each of them.
    """
    return min(
        _LONGEST_RECORD,
        2 * sum(2 * len(entry.raw_name) + _REST_OF_ROW for entry in entries.values()),
    )


@frozen
class Inside:
    """The result of `inspect`. `problems` is empty for an archive that may be published."""

    metadata: bytes | None = field(default=None, repr=False)
    """The exact bytes of METADATA (wheels) or PKG-INFO; None if it is missing or unreadable."""
    problems: tuple[str, ...] = ()


def inspect(file: BinaryIO, distribution: Distribution) -> Inside:
    """Inspect the seekable `file` of this distribution; its position does not matter.

    Blocks: run it in a thread. Reads the headers of a wheel, egg or zip only; a tar is unpacked
    once as a stream. Memory and work are bounded, whatever the bytes are, and no archive makes it
    raise (only `file` itself can).
    """
    findings = MemberProblems()
    metadata: bytes | None = None
    try:
        metadata = _metadata(file, distribution, findings)
    except UnusableArchive as problem:
        findings.add(str(problem))
    return Inside(metadata, findings.problems())


def _metadata(file: BinaryIO, distribution: Distribution, findings: MemberProblems) -> bytes | None:
    match distribution.packagetype:
        case Packagetype.WHEEL:
            return wheel_metadata(file, distribution, findings)
        case Packagetype.SDIST:
            return sdist_metadata(file, distribution.filename, findings)
        case Packagetype.EGG:
            return egg_metadata(file, findings)
        case _ as never:
            assert_never(never)
