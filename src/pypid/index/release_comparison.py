"""Comparison of two releases of a project: the files are read here, and `core.archives.differences`
computes the differences.
"""

from __future__ import annotations

from attrs import field, frozen

from pypid.core.archives.contents import Inner, MemberListing, Text, read_text
from pypid.core.archives.differences import (
    DiffLine,
    MemberDifferences,
    Pair,
    choose_pair,
    member_differences,
    pairs_of,
    text_differences,
)
from pypid.core.archives.metadata_differences import FieldDifference, metadata_differences
from pypid.core.errors import NoSuchMember, PypidError
from pypid.core.model import File, StoredFile
from pypid.core.packaging.core_metadata import CoreMetadata, read_metadata
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import Release
from pypid.index.file_contents import Contents
from pypid.index.views import UpstreamPermission

FEW_FILES = 256
"""Largest number of files of two releases that are paired on the reactor thread: it takes some
milliseconds.
"""


@frozen(kw_only=True)
class Compared:
    """What differs between two releases, identified by their versions. Of the pairs of files, the
    members of one are compared.
    """

    old: str
    new: str
    fields: tuple[FieldDifference, ...] | None
    """None: the metadata of one of them is not available."""
    pairs: tuple[Pair, ...]
    chosen: Pair | None
    """The pair whose members are compared; None if the two releases have no files of the same kind.
    """
    members: MemberDifferences | None = None
    problem: str | None = None
    """Why there are no `members`, though there is a pair."""


@frozen
class ComparedText:
    """The differing lines of one member; or, if there are none to show, why."""

    path: str
    lines: tuple[DiffLine, ...] | None = field(default=None, repr=False)
    problem: str | None = None


@frozen
class Comparison:
    """Compares releases of a project whose files the caller has found visible."""

    contents: Contents
    project: ProjectName
    permission: UpstreamPermission

    async def compare(self, old: Release, new: Release, kind: str | None = None) -> Compared:
        """Return all that differs. Parts that are not available are left out, with the reason."""
        is_long = len(old.files) + len(new.files) > FEW_FILES
        thinking = self.contents.index.world.thinking
        pairs = (
            await thinking(pairs_of, old.files, new.files)
            if is_long
            else pairs_of(old.files, new.files)
        )
        chosen = choose_pair(pairs, kind)
        members: MemberDifferences | None = None
        problem: str | None = None
        if chosen is not None and chosen.old is not None and chosen.new is not None:
            try:
                members = await self.members(chosen.old, chosen.new)
            except PypidError as error:
                problem = str(error)
            else:
                problem = (
                    None
                    if members is not None
                    else "There are too many members in these files to compare them."
                )
        elif chosen is not None:
            problem = "Only one of the two releases has such a file."
        return Compared(
            old=old.version,
            new=new.version,
            fields=await self._fields(old, new),
            pairs=pairs,
            chosen=chosen,
            members=members,
            problem=problem,
        )

    async def members(self, old: File, new: File) -> MemberDifferences | None:
        """Return what differs in two files, or None if one has more members than are listed. Raises
        what `Contents.listing` raises.
        """
        one, other = (
            await self.contents.listing(old, self.permission),
            await self.contents.listing(new, self.permission),
        )
        return await self.contents.index.world.thinking(_members, one, other, self.project)

    async def text(self, old: File, new: File, path: str) -> ComparedText:
        """Return the differing lines of the member with this path (without the version, as in
        `MemberDifferences`).

        Raises `NoSuchMember` if it does not differ, and what `Contents.member` raises.
        """
        found = await self.members(old, new)
        changed = None if found is None else found.changed.get(path)
        one = (
            changed.old
            if changed is not None
            else None
            if found is None
            else found.removed.get(path)
        )
        other = (
            changed.new if changed is not None else None if found is None else found.added.get(path)
        )
        if one is None and other is None:
            raise NoSuchMember(new.filename, path)
        texts = await self._text(old, one), await self._text(new, other)
        if texts[0] is None or texts[1] is None:
            return ComparedText(path, problem="It is no text, or a very large one.")
        lines = await self.contents.index.world.thinking(
            text_differences, texts[0].text, texts[1].text
        )
        return ComparedText(
            path, lines, "Too many lines differ to compare them." if lines is None else None
        )

    async def _text(self, file: File, member: Inner | None) -> Text | None:
        if member is None:
            return Text("", "utf-8")
        opened = await self.contents.member(file, member.path, self.permission)
        return None if opened.is_cut else read_text(opened.data, cut=False)

    async def _fields(self, old: Release, new: Release) -> tuple[FieldDifference, ...] | None:
        if old == new:
            return ()
        one = await self._described(old)
        other = None if one is None else await self._described(new)
        if one is None or other is None:
            return None
        return await self.contents.index.world.thinking(_fields, one, other)

    async def _described(self, release: Release) -> bytes | None:
        """Return the core metadata of the release: the stored metadata, else that of a wheel, or of
        an sdist that is stored here.
        """
        wheels_first = sorted(
            release.files,
            key=lambda file: (not file.metadata_sha256, not file.filename.endswith(".whl")),
        )
        for file in wheels_first[:3]:
            try:
                if file.metadata_sha256 or file.filename.endswith(".whl"):
                    return await self.contents.index.metadata(file, self.permission)
                if isinstance(file, StoredFile):
                    return await self._pkg_info(file)
            except PypidError:
                continue
        return None

    async def _pkg_info(self, file: File) -> bytes:
        listing = await self.contents.listing(file, self.permission)
        for member in listing.members:
            folder, _, name = member.path.partition("/")
            if name == "PKG-INFO" and folder:
                opened = await self.contents.member(file, member.path, self.permission)
                return opened.data
        raise NoSuchMember(file.filename, "PKG-INFO")


def _members(
    old: MemberListing, new: MemberListing, project: ProjectName
) -> MemberDifferences | None:
    return None if old.more or new.more else member_differences(old.members, new.members, project)


def _fields(old: bytes, new: bytes) -> tuple[FieldDifference, ...]:
    one: CoreMetadata = read_metadata(old)
    return metadata_differences(one, read_metadata(new))
