"""Fast parsing of JSON entries in the form that nearly all indexes write: a page has ten thousand.

An entry is decoded into a typed struct, checked, and packed as it is, without the parts that pages
do not show. An entry of any other form is left to `core.simple_api.parse.file_of`, which yields the
same file for the same entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import repeat
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pypid.core.packaging.listed_names import version_of
from pypid.core.packaging.names import (
    LONGEST_FILENAME,
    LONGEST_NAME,
    ProjectName,
    are_usual_tags,
    usual_name_and_version,
)
from pypid.core.simple_api.entries import FILES_URL, is_unreserved
from pypid.core.simple_api.packing import Row, RowsByVersion

LONGEST_TEXT = 4096
"""Maximum length in characters of a reason, a specifier or a URL."""
LARGEST_SIZE = (1 << 53) - 1
"""Bytes; some JSON readers alter greater numbers."""


class Sha256(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The one hash that most indexes write. It takes a tenth of the memory of a dictionary."""

    sha256: Annotated[str, Meta(min_length=64, max_length=64)]


_Metadata = bool | Sha256 | None | UnsetType


class GivenEntry(msgspec.Struct, rename="kebab", gc=False):
    """A file in a JSON page of an index. Its first keys are in the order of `Entry`."""

    filename: Annotated[str, Meta(max_length=LONGEST_FILENAME)]
    url: Annotated[str, Meta(max_length=LONGEST_TEXT)]
    hashes: Sha256
    size: Annotated[int, Meta(ge=0, le=LARGEST_SIZE)] | UnsetType | None = UNSET
    upload_time: datetime | UnsetType | None = UNSET
    requires_python: str | UnsetType | None = UNSET
    core_metadata: _Metadata = UNSET
    yanked: bool | str | None = False
    dist_info_metadata: _Metadata = UNSET
    data_dist_info_metadata: _Metadata = UNSET
    provenance: Annotated[str, Meta(max_length=LONGEST_TEXT - 1)] | UnsetType | None = UNSET


_decode = msgspec.json.Decoder(list[GivenEntry]).decode
_decode_one = msgspec.json.Decoder(GivenEntry).decode
_decode_raw = msgspec.json.Decoder(list[msgspec.Raw]).decode
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(?::[1-9][0-9]{0,3}|:[1-5][0-9]{4})?/").match
_CLEAN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~!+,=%/-"
"""The characters of paths that need no further checks."""
_HEX = b"0123456789abcdef"
_VISIBLE = bytes(range(0x21, 0x7F))


def decode_entries(data: bytes) -> list[Any]:
    """Return the elements of a JSON array: each as `GivenEntry` if it is one, else of any type.
    Raises `ValueError` if it is no JSON.
    """
    try:
        return _decode(data)
    except msgspec.ValidationError:
        return [_entry(each) for each in _decode_raw(data)]


def _entry(data: msgspec.Raw) -> Any:
    try:
        return _decode_one(data)
    except msgspec.ValidationError:
        return msgspec.json.decode(data)


def as_any(entry: GivenEntry) -> dict[str, Any]:
    """Return the entry as a dictionary, as JSON has it."""
    found: dict[str, Any] = msgspec.to_builtins(entry)
    return found


class PlainNames:
    """Finds the versions in the file names of one page."""

    def __init__(self, project: ProjectName) -> None:
        self._project = project
        self._stem = " "
        """The name and the version of the last wheel, as its file name begins."""
        self._sdist = " "
        """The name of the sdist of the same version."""
        self._version: str | None = None
        self._tags: set[str] = set()
        """The ends of names of wheels that are known to be valid."""

    def versions_of(self, filenames: Iterable[str]) -> list[str | None]:
        """Return `version_of` of each name."""
        found, stem, end = [], self._stem, len(self._stem)
        for filename in filenames:
            is_known = filename.startswith(stem) and filename[end:] in self._tags
            if (is_known and len(filename) < LONGEST_NAME) or filename == self._sdist:
                found.append(self._version)
            else:
                found.append(self._parsed(filename))
                stem, end = self._stem, len(self._stem)
        return found

    def version_of(self, filename: str) -> str | None:
        """Return the version, as `listed_names.version_of`, if the name needs no quotes in a URL;
        else None.
        """
        return self.versions_of((filename,))[0]

    def _parsed(self, filename: str) -> str | None:
        name, _, rest = filename.partition("-")
        spelled, _, tags = rest.partition("-")
        are_usual = tags in self._tags or (tags.endswith(".whl") and are_usual_tags(tags[:-4]))
        if are_usual and is_unreserved(spelled) and len(filename) < LONGEST_NAME:
            usual = usual_name_and_version(name, spelled)
            if usual is not None and usual[0] == self._project:
                self._stem, self._sdist = f"{name}-{spelled}-", f"{name}-{spelled}.tar.gz"
                self._version = usual[1]
                self._tags.add(tags)
                return usual[1]
        is_plain = len(filename) <= LONGEST_FILENAME and is_unreserved(filename)
        return version_of(filename, self._project) if is_plain else None


class UsualEntries:
    """Makes rows of the entries of one page. `folder_of` returns the URL of a relative folder, or
    None; `serves` as for `parse_pages.slices_of_page`.
    """

    def __init__(
        self,
        name: ProjectName,
        folder_of: Callable[[str], str | None],
        serves: Callable[[str], bool],
    ) -> None:
        self._url = f"{FILES_URL}{name}/"
        self._folder_of = folder_of
        self._serves = serves
        self._names = PlainNames(name)

    def add(
        self,
        entries: list[GivenEntry],
        versions: RowsByVersion,
        other: Callable[[GivenEntry], None],
    ) -> None:
        """Add the rows of the entries of the usual form to their `versions`; call `other` with any
        other entry, which may still be valid. The order is kept.
        """
        rows = self._rows(entries)
        if rows is not None:
            found = self._names.versions_of([entry.filename for entry in entries])
            for version, row, entry in zip(found, rows, entries, strict=True):
                if version is None:
                    other(entry)
                else:
                    versions[version].append(row)
        elif len(entries) == 1:
            other(entries[0])
        else:
            half = len(entries) // 2
            self.add(entries[:half], versions, other)
            self.add(entries[half:], versions, other)

    def _rows(self, entries: list[GivenEntry]) -> Iterable[Row] | None:
        """Return the rows, or None if any entry needs further checks besides its name."""
        # lists: they are faster than generators and than a call for each entry
        names = [entry.filename for entry in entries]
        folders = self._folders(names, [entry.url for entry in entries])
        offers = _offers(entries)
        hashes = [entry.hashes for entry in entries]
        if folders is None or offers is None or not _are_usual(entries, [*hashes, *offers]):
            return None
        if True in offers:
            offers = [
                UNSET if offer is True and not self._serves(folder + name) else offer
                for offer, folder, name in zip(offers, folders, names, strict=True)
            ]
        shown = map(
            GivenEntry,
            names,
            [self._url + name for name in names],
            hashes,
            [UNSET if entry.size is None else entry.size for entry in entries],
            [entry.upload_time or UNSET for entry in entries],
            [entry.requires_python or UNSET for entry in entries],
            offers,
            [entry.yanked or False for entry in entries],
        )
        provenance = [entry.provenance or None for entry in entries]
        return zip(names, shown, folders, provenance, repeat(None), strict=False)

    def _folders(self, names: list[str], urls: list[str]) -> list[str] | None:
        """Return the folders of the URLs, whose last parts are these names; None if any needs
        further checks.
        """
        if not all(map(str.endswith, urls, names)):
            return None
        folders = list(map(str.removesuffix, urls, names))
        origin = _ORIGIN(folders[0])
        if origin is not None:
            return folders if _are_clean([*{*folders}], origin[0]) else None
        known = {folder: self._folder_of(folder) for folder in {*folders}}
        found = [folder for folder in map(known.get, folders) if folder is not None]
        return found if len(found) == len(folders) else None


def _are_clean(folders: list[str], origin: str) -> bool:
    """Return whether these are folders at the origin that need no further checks."""
    opening = f"\n{origin}"
    text = "\n" + "\n".join(folders)
    if text.count(opening) != len(folders) or {folder[-1] for folder in folders} != {"/"}:
        return False
    paths = "/" + text.replace(opening, "")  # a line end that is left is not clean
    return (
        paths.isascii()
        and not paths.encode().translate(None, _CLEAN)
        and "//" not in paths
        and ("." not in paths or "/." not in paths)
    )


def _offers(entries: list[GivenEntry]) -> list[_Metadata] | None:
    """Return the metadata that is offered for each entry, or `UNSET`; None if an older key counts
    for any.
    """
    offers = [entry.core_metadata for entry in entries]
    if {*map(type, offers)} == {Sha256}:
        return offers
    for entry in entries:
        is_missing = entry.core_metadata is None or entry.core_metadata is UNSET
        if is_missing and (entry.dist_info_metadata or entry.data_dist_info_metadata):
            return None
    return [offer or UNSET for offer in offers]


def _are_usual(entries: list[GivenEntry], hashes: list[_Metadata]) -> bool:
    """Return whether all parts of the entries, besides names, URLs and offers, can be kept as they
    are; `hashes` are all of these.
    """
    zones = {time.tzinfo for entry in entries if (time := entry.upload_time)}
    digests = "".join([one.sha256 for one in hashes if type(one) is Sha256])
    return (
        zones <= {UTC}
        and digests.isascii()
        and not digests.encode().translate(None, _HEX)
        and _are_usual_texts(entries)
    )


def _are_usual_texts(entries: list[GivenEntry]) -> bool:
    specifiers = {entry.requires_python for entry in entries}
    reasons = {entry.yanked for entry in entries}
    urls = [url for entry in entries if (url := entry.provenance)]
    return (
        all(type(reason) is not str or _is_usual_reason(reason) for reason in reasons)
        and all(not text or _is_usual_text(text) for text in specifiers)
        and (not urls or _are_secure(urls))
    )


def _is_usual_reason(text: str) -> bool:
    return text.strip() != "" and len(text) < LONGEST_TEXT and text.isprintable()


def _is_usual_text(text: str) -> bool:
    return text == text.strip() and _is_usual_reason(text)


def _are_secure(urls: list[str]) -> bool:
    """Return whether these are https URLs without spaces or control characters."""
    text = "\n" + "\n".join(urls)
    return (
        text.count("\nhttps://") == len(urls)
        and text.isascii()
        and text.encode().translate(None, _VISIBLE) == b"\n" * len(urls)
    )
