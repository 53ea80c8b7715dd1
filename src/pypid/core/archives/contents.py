"""The members of a distribution, and the beginning of one of them, for browsing.

Names inside an archive are arbitrary. Each member has a `path` for users and addresses: its name,
in which a backslash, and everything unprintable (control characters, bidirectional marks, bytes
that are not UTF-8), is escaped like in Python. A duplicate or very long name ends in ``\\#`` and
the member's number. So no two members have the same path, and each consists of printable
characters.

Archives are not validated here (see `inspection`): one that cannot be followed raises
`UnusableArchive`, and all else is shown as it is.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from posixpath import commonprefix
from typing import BinaryIO
from zlib import crc32

import msgspec
from attrs import define, field, frozen

from pypid.core.archives.tars import TarKind, TarMember, Unpacked, read_tar
from pypid.core.archives.zips import ZipEntry, begin_entry, zip_entries

MOST_HELD = 20_000
"""Members of one archive that are held; botocore and tensorflow have some thousands."""
MOST_NAMES = 4 << 20
"""Maximum number of characters of all their paths."""
LONGEST_PATH = 250
"""Maximum length in characters of a path, without its number."""
MOST_SHOWN = 1 << 20
"""Maximum number of bytes of one member that are shown."""
MOST_UNPACKED = 1 << 30
"""Maximum number of bytes of a tar that are unpacked for browsing: ten seconds of a thread."""
_SUMMED = 4 << 20
"""Bytes of a member of a tar whose CRC-32 is computed; it is in memory meanwhile."""

_CONTROLS = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0)))) - frozenset("\t\n\v\f\r")


class Inner(msgspec.Struct, frozen=True, gc=False):
    """One member: a file, or a link (folders are omitted). Sizes in bytes. Not an attrs class:
    there are many, like `model.File`.
    """

    path: str
    size: int
    packed: int | None = None
    """Its compressed size in a zip; None in a tar, which is compressed as a whole."""
    crc: int | None = None
    """The CRC-32 of its bytes; None if it is unknown."""
    kind: TarKind = TarKind.FILE
    link: str = ""
    """The target of a link in a tar, spelled as a `path`."""
    entry: ZipEntry | None = None
    """Its entry in a zip's directory."""


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
        """The approximate size in memory, in bytes."""
        return 500 + sum(600 + 4 * len(member.path) for member in self.members)

    def member(self, path: str) -> Inner | None:
        """Return the member with this path, or None."""
        return next((member for member in self.members if member.path == path), None)


@frozen
class ArchiveFolder:
    """A folder by its path with a slash at its end, and number and `size` of all members below."""

    path: str
    members: int
    size: int


@frozen
class OpenedMember:
    """A member with its first bytes, at most `MOST_SHOWN`."""

    member: Inner
    data: bytes = field(repr=False)

    @property
    def is_cut(self) -> bool:
        """Whether it has more bytes."""
        return self.member.kind is TarKind.FILE and len(self.data) < self.member.size


@frozen
class Text:
    """Decoded text; `encoding` is ``utf-8`` or ``latin-1``."""

    text: str = field(repr=False)
    encoding: str


def printable(name: str) -> str:
    """Return `name` with backslashes doubled and unprintable characters escaped: still unique."""
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(
        letter if letter.isprintable() and letter != "\\" else _escaped(letter) for letter in name
    )


def _escaped(letter: str) -> str:
    code = ord(letter)
    if letter == "\\":
        return "\\\\"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as `tars` decodes it (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(line: str) -> str:
    """Return a line of text for a page: unprintable characters except tabs are escaped."""
    if line.isprintable():
        return line
    # by distinct character, not by each character: a megabyte of unprintable ones would take
    # seconds
    return line.translate(
        {
            ord(each): _escaped(each)
            for each in set(line)
            if not each.isprintable() and each not in "\t\xa0"
        }
    )


def read_text(data: bytes, *, cut: bool) -> Text | None:
    """Return the text in `data`, or None if it is binary: UTF-8 (if `cut`, its last character may
    be torn), or older text.

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
    """Return the folders and the members directly below `folder` ("" or a path that ends in a
    slash), each in order.

    A folder that contains nothing but one folder is skipped: the first path with a choice is
    returned (``spam-1.0/src/``).
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
    """Return the longest folder that contains all of them."""
    return (
        "/".join(commonprefix([member.path.rpartition("/")[0].split("/") for member in members]))
        + "/"
    )


def list_members(file: BinaryIO, filename: str) -> MemberListing:
    """Return the members of the archive in the seekable `file` with this name; blocks. Raises
    `UnusableArchive`.

    Of a zip, a wheel or an egg only the directory is read; a tar is unpacked once, in bounded
    memory.
    """
    return _of_zip(file) if is_zip(filename) else _of_tar(file, filename)


def open_zipped(file: BinaryIO, member: Inner) -> OpenedMember:
    """Return the beginning of a member of a zip; blocks. Raises `UnusableArchive` if it is damaged,
    encrypted, or packed by an unknown method.
    """
    if member.entry is None or member.kind is not TarKind.FILE:
        return OpenedMember(member, b"")
    return OpenedMember(member, begin_entry(file, member.entry, MOST_SHOWN))


def open_tarred(file: BinaryIO, filename: str, path: str) -> OpenedMember | None:
    """Return the beginning of the member of a tar with this path, or None; blocks. Raises
    `UnusableArchive`, also for damage before the member.
    """
    stream = Unpacked(file, filename, MOST_UNPACKED)
    listed = _Listed()
    for member in read_tar(stream):
        inner = listed.take_tarred(member)
        if inner is not None and inner.path == path:
            return OpenedMember(inner, stream.exactly(min(member.size, MOST_SHOWN)))
    return None


def is_zip(filename: str) -> bool:
    """Return whether the distribution with this name is a zip archive; else it is a tar."""
    return filename.endswith((".whl", ".zip", ".egg"))


@define
class _Listed:
    """The state of listing an archive."""

    members: list[Inner] = field(factory=list)
    total: int = 0
    _letters: int = 0
    _paths: set[str] = field(factory=set)

    def path(self, name: str) -> str | None:
        """Return the path of the next member; None if it is only counted."""
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
        """Return the next member of a tar, or None if it is a folder, or only counted."""
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
    for entry in zip_entries(file):
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
    stream = Unpacked(file, filename, MOST_UNPACKED)
    listed = _Listed()
    for member in read_tar(stream):
        inner = listed.take_tarred(member)
        if inner is None:
            continue
        if member.kind is TarKind.FILE and member.size <= _SUMMED:
            inner = msgspec.structs.replace(inner, crc=crc32(stream.exactly(member.size)))
        listed.members.append(inner)
    return listed.listing()
