"""Inspection of sdists: the PKG-INFO, and whether it is safe to unpack anywhere.

Sources: "Source distribution format" (packaging.python.org), PEP 625 and, for safe unpacking, PEP
706 (the ``data`` filter of `tarfile`). Old sdists are accepted: the spelling of the top folder does
not matter.
"""

from __future__ import annotations

from typing import BinaryIO

from attrs import define, field

from pypid.core.archives.decompression import Unpacked
from pypid.core.archives.members import (
    MemberProblems,
    UnusableArchive,
    path_components,
    path_problem,
)
from pypid.core.archives.tars import TarKind, TarMember, read_tar
from pypid.core.archives.zips import read_entry, read_zip
from pypid.core.errors import shortened
from pypid.core.packaging.core_metadata import LONGEST_METADATA

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
    reading = _Reading(findings)
    for member, data in read_tar(stream, reading.keeps):
        reading.take(member, data)
    stream.finish()
    return reading.result()


def _is_pkg_info(split: tuple[str, ...]) -> bool:
    return len(split) == 2 and split[1] == "PKG-INFO"


@define
class _Reading:
    """The state of reading a tar."""

    findings: MemberProblems
    tops: set[str] = field(factory=set)
    links: set[tuple[str, ...]] = field(factory=set)
    found: list[bytes] = field(factory=list)

    def keeps(self, member: TarMember) -> bool:
        """Return whether it is the PKG-INFO. Raises `UnusableArchive` for one that is too large."""
        if not _is_pkg_info(path_components(member.name)) or self.found:
            return False
        if member.size > LONGEST_METADATA:
            raise UnusableArchive(
                f"the PKG-INFO is larger than the {LONGEST_METADATA >> 20} MiB that are allowed."
            )
        return True

    def take(self, member: TarMember, data: bytes) -> None:
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
            self._take_pkg_info(member, data)
        if member.kind is TarKind.OTHER:
            self.findings.add(
                f"{shortened(member.name)!r} in the sdist is a {member.kind.value}; only files, "
                "folders and links may be."
            )
        elif member.kind in (TarKind.SYMLINK, TarKind.HARDLINK):
            self._take_link(member, split)

    def _take_pkg_info(self, member: TarMember, data: bytes) -> None:
        if member.kind is not TarKind.FILE:
            self.findings.add(
                f"the PKG-INFO of the sdist is a {member.kind.value}; put the file itself there."
            )
        elif self.found:
            self.findings.add("the sdist has several PKG-INFO files in its top folder.")
        else:
            self.found.append(data)

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
