"""What lies in a distribution: its members, and the beginning of one of them, as people look at it.

Names inside an archive are whatever somebody wrote there. Each member has a `path` for people and
for addresses: its name, in which a backslash, and all that cannot be printed (control characters,
what turns the direction of text, bytes that are no UTF-8), stands as Python would escape it. A name
that comes twice, or is very long, ends in ``\\#`` and the member's number. So no two members have
the same path, and none needs more than printable characters.

Nothing is judged here (see `archive`): an archive that cannot be followed is `UnusableArchive`, and
all else is shown as it is.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from posixpath import commonprefix
from typing import BinaryIO
from zlib import crc32

import msgspec
from attrs import define, field, frozen

from pypid.core.archives.decompression import Unpacked
from pypid.core.archives.members import MemberProblems, UnusableArchive
from pypid.core.archives.tars import TarKind, TarMember, read_tar
from pypid.core.archives.zips import ZipEntry, begin_entry, zip_entries

MOST_HELD = 20_000
"""Members of one archive that are held; the largest that people look at (botocore, tensorflow) have
some thousands.
"""
MOST_NAMES = 4 << 20
"""Characters of all their paths."""
LONGEST_PATH = 250
"""Characters of a path, without its number."""
MOST_SHOWN = 1 << 20
"""Bytes of one member that are shown."""
MOST_UNPACKED = 1 << 30
"""Bytes of a tar that are unpacked to look into it: ten seconds of a thread."""
_SUMMED = 4 << 20
"""Bytes of a member of a tar of which a CRC-32 is taken; it is in memory meanwhile."""

_CONTROLS = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0)))) - frozenset("\t\n\v\f\r")


class Inner(msgspec.Struct, frozen=True, gc=False):
    """One member: a file, or a link (folders are left out). Sizes in bytes. Not attrs: there are
    many, as of `model.File`.
    """

    path: str
    size: int
    packed: int | None = None
    """What it takes up in a zip; None in a tar, which is compressed as a whole."""
    crc: int | None = None
    """The CRC-32 of its bytes; None where it is not known."""
    kind: TarKind = TarKind.FILE
    link: str = ""
    """Where a link of a tar leads to, spelled as a `path`."""
    entry: ZipEntry | None = None
    """Where it lies in a zip."""


@frozen
class MemberListing:
    """The members of an archive, in its order: at most `MOST_HELD` of a `total`."""

    members: tuple[Inner, ...] = field(repr=False)
    total: int

    @property
    def more(self) -> int:
        """How many are not held."""
        return self.total - len(self.members)

    @property
    def weight(self) -> int:
        """About so many bytes of memory."""
        return 500 + sum(600 + 4 * len(member.path) for member in self.members)

    def member(self, path: str) -> Inner | None:
        """The one of this path."""
        return next((member for member in self.members if member.path == path), None)


@frozen
class ArchiveFolder:
    """A folder of an archive by its path, which ends in a slash; its members, and those of folders
    in it. `size` in bytes.
    """

    path: str
    members: int
    size: int


@frozen
class OpenedMember:
    """A member with the first of its bytes, at most `MOST_SHOWN`."""

    member: Inner
    data: bytes = field(repr=False)

    @property
    def is_cut(self) -> bool:
        """Whether it has more."""
        return self.member.kind is TarKind.FILE and len(self.data) < self.member.size


@frozen
class Text:
    """What the bytes say; `encoding` is ``utf-8`` or ``latin-1``."""

    text: str = field(repr=False)
    encoding: str


def printable(name: str) -> str:
    """`name` with a backslash before each backslash, and an escape in place of what cannot be
    printed; no two become one.
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(
        letter if letter.isprintable() and letter != "\\" else _escaped(letter) for letter in name
    )


def _escaped(letter: str) -> str:
    code = ord(letter)
    if letter == "\\":
        return "\\\\"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as `tars` decodes it (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(line: str) -> str:
    """A line of text for a page: what cannot be printed stands as an escape, but for tabs; other
    backslashes stay.
    """
    if line.isprintable():
        return line
    # by the letters that there are, and not by each letter: of a megabyte of what cannot be seen
    # that would take seconds
    return line.translate(
        {
            ord(each): _escaped(each)
            for each in set(line)
            if not each.isprintable() and each not in "\t\xa0"
        }
    )


def read_text(data: bytes, *, cut: bool) -> Text | None:
    """The text that `data` is, or None where it is none: UTF-8 (when `cut`, its last letter may be
    torn), or older text.

    Older text is taken for Latin-1 if it has no control characters; sources of Python 2 are written
    so.
    """
    if b"\0" in data:
        return None
    try:
        return Text(data.decode("utf-8-sig"), "utf-8")
    except UnicodeDecodeError as error:
        if cut and error.start >= len(data) - 3 and error.reason == "unexpected end of data":
            return Text(data[: error.start].decode("utf-8-sig"), "utf-8")
    text = data.decode("latin-1")
    return None if _CONTROLS.intersection(text) else Text(text, "latin-1")


def look_in(members: Sequence[Inner], folder: str) -> tuple[list[ArchiveFolder], list[Inner]]:
    """The folders and the members right below `folder` ("" or a path that ends in a slash), each in
    order.

    A folder in which nothing but one folder lies is passed over: what is told is where something
    begins (``spam-1.0/src/``).
    """
    below: dict[str, list[Inner]] = {}
    here: list[Inner] = []
    for member in members:
        if member.path.startswith(folder):
            first, slash, _ = member.path[len(folder) :].partition("/")
            if slash:
                below.setdefault(first, []).append(member)
            else:
                here.append(member)
    folders = [
        ArchiveFolder(_shared(its), len(its), sum(member.size for member in its))
        for its in below.values()
    ]
    return sorted(folders, key=lambda each: each.path.split("/")), sorted(
        here, key=lambda member: member.path
    )


def _shared(members: Sequence[Inner]) -> str:
    """The longest folder that all of them are in."""
    return (
        "/".join(commonprefix([member.path.rpartition("/")[0].split("/") for member in members]))
        + "/"
    )


def list_members(file: BinaryIO, filename: str) -> MemberListing:
    """The members of the archive in the seekable `file`, which is named so; blocks. Raises
    `UnusableArchive`.

    Of a zip, a wheel or an egg only the directory is read; a tar is unpacked once, in bounded
    memory.
    """
    return _of_zip(file) if is_zip(filename) else _of_tar(file, filename)


def open_zipped(file: BinaryIO, member: Inner) -> OpenedMember:
    """A member of a zip; blocks. Raises `UnusableArchive` where it is damaged, encrypted, or packed
    in a way that nobody knows.
    """
    if member.entry is None or member.kind is not TarKind.FILE:
        return OpenedMember(member, b"")
    return OpenedMember(member, begin_entry(file, member.entry, MOST_SHOWN))


def open_tarred(file: BinaryIO, filename: str, path: str) -> OpenedMember | None:
    """The member of a tar that has this path, or None; blocks. Raises `UnusableArchive`, at what
    comes before it.
    """
    stream = Unpacked(file, filename, MOST_UNPACKED)
    listed = _Listed()

    def stops(member: TarMember) -> bool:
        inner = listed.take_tarred(member)
        if inner is not None and inner.path == path:
            raise _Found(OpenedMember(inner, stream.read(min(member.size, MOST_SHOWN))))
        return False

    try:
        for member, _ in read_tar(stream, stops):
            inner = None if member.kind is TarKind.FILE else listed.take_tarred(member)
            if inner is not None and inner.path == path:
                return OpenedMember(inner, b"")
    except _Found as found:
        if len(found.opened.data) < min(found.opened.member.size, MOST_SHOWN):
            raise UnusableArchive("the tar archive was cut off.") from None
        return found.opened
    return None


def is_zip(filename: str) -> bool:
    """Whether the distribution of this name is a zip archive; else it is a tar."""
    return filename.endswith((".whl", ".zip", ".egg"))


class _Found(Exception):
    def __init__(self, opened: OpenedMember) -> None:
        super().__init__(opened)
        self.opened = opened


@define
class _Listed:
    """What has been seen of an archive so far."""

    members: list[Inner] = field(factory=list)
    total: int = 0
    _letters: int = 0
    _paths: set[str] = field(factory=set)

    def path(self, name: str) -> str | None:
        """The path of the next member; None where it is only counted."""
        self.total += 1
        if self.total > MOST_HELD or self._letters > MOST_NAMES:
            return None
        shown = printable(name[: LONGEST_PATH + 1])
        if len(name) > LONGEST_PATH or len(shown) > LONGEST_PATH or shown in self._paths:
            shown = f"{shown[:LONGEST_PATH]}\\#{self.total}"
        else:
            self._paths.add(shown)
        self._letters += len(shown)
        return shown

    def take_tarred(self, member: TarMember) -> Inner | None:
        """The next member of a tar, unless it is a folder, or is only counted."""
        path = None if member.kind is TarKind.FOLDER else self.path(member.name)
        if path is None:
            return None
        link = (
            printable(member.link[:LONGEST_PATH])[:LONGEST_PATH]
            if member.kind in (TarKind.SYMLINK, TarKind.HARDLINK)
            else ""
        )
        return Inner(path, member.size, kind=member.kind, link=link)

    def listing(self) -> MemberListing:
        return MemberListing(tuple(self.members), self.total)


def _of_zip(file: BinaryIO) -> MemberListing:
    listed = _Listed()
    for entry in zip_entries(file, MemberProblems()):
        path = None if entry.is_folder else listed.path(entry.name)
        if path is not None:
            kind = _kind(entry.mode)
            listed.members.append(
                Inner(path, entry.unpacked, entry.packed, entry.crc, kind, entry=entry)
            )
    return listed.listing()


def _kind(mode: int) -> TarKind:
    match stat.S_IFMT(mode):
        case 0 | stat.S_IFREG:
            return TarKind.FILE
        case stat.S_IFLNK:
            return TarKind.SYMLINK
        case _:
            return TarKind.OTHER


def _of_tar(file: BinaryIO, filename: str) -> MemberListing:
    listed = _Listed()
    taken: Inner | None = None

    def sums(member: TarMember) -> bool:
        nonlocal taken
        taken = listed.take_tarred(member)
        return taken is not None and member.size <= _SUMMED

    for member, data in read_tar(Unpacked(file, filename, MOST_UNPACKED), sums):
        if member.kind is not TarKind.FILE:
            taken = listed.take_tarred(member)
        elif taken is not None and len(data) == member.size:
            taken = msgspec.structs.replace(taken, crc=crc32(data))
        if taken is not None:
            listed.members.append(taken)
    return listed.listing()
