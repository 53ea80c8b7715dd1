"""Fast parsing of JSON entries in the form that nearly all indexes write: a page has ten thousand.

An entry is decoded into a typed struct, checked, and packed as it is, without the parts that pages
do not show. An entry of any other form is left to `core.simple_api.parse.file_of`, which yields the
same file for the same entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pypid.core.packaging.listed_names import version_of
from pypid.core.packaging.names import (
    LONGEST_FILENAME,
    LONGEST_NAME,
    ProjectName,
    are_usual_tags,
    usual_name_and_version,
)
from pypid.core.simple_api.entries import FILES_URL, is_unreserved
from pypid.core.simple_api.packing import Row

LONGEST_TEXT = 4096
"""Maximum length in characters of a reason, a specifier or a URL."""
LARGEST_SIZE = (1 << 53) - 1
"""Bytes; some JSON readers alter greater numbers."""
_Metadata = bool | dict[str, str] | None | UnsetType


class GivenEntry(msgspec.Struct, rename="kebab", gc=False):
    """A file in a JSON page of an index. Its first keys are in the order of `Entry`."""

    filename: str
    url: str
    hashes: dict[str, str]
    size: int | UnsetType | None = UNSET
    upload_time: datetime | UnsetType | None = UNSET
    requires_python: str | UnsetType | None = UNSET
    core_metadata: _Metadata = UNSET
    yanked: bool | str | None = False
    dist_info_metadata: _Metadata = UNSET
    data_dist_info_metadata: _Metadata = UNSET
    provenance: str | UnsetType | None = UNSET

    def become_ours(self, url: str, *, has_metadata: bool) -> None:
        """Turn a checked entry into one of our page."""
        self.url = url
        if not (has_metadata and self.core_metadata):
            self.core_metadata = UNSET
        if not self.requires_python:
            self.requires_python = UNSET
        if self.size is None:
            self.size = UNSET
        if self.upload_time is None:
            self.upload_time = UNSET
        if self.yanked is None:
            self.yanked = False
        self.provenance = self.dist_info_metadata = self.data_dist_info_metadata = UNSET


_decode = msgspec.json.Decoder(list[GivenEntry]).decode
_HOST = r"https?://[A-Za-z0-9.-]{1,253}(?::[1-9][0-9]{0,3}|:[1-5][0-9]{4})?/"
_ORIGIN = re.compile(_HOST).match
_FOLDER = re.compile(rf"{_HOST}(?:[A-Za-z0-9_~!+,=%-][A-Za-z0-9._~!+,=%-]*+/)*+\Z").match
"""The URL of a folder that needs no further checks, whatever clean name follows."""
_CLEAN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~!+,=%/-"
"""The characters of paths that need no further checks."""
_SECURE_URLS = re.compile(r"(?:https://[!-~]{1,4000}+(?:\n|\Z))*+\Z").match


def decode_entries(data: bytes) -> list[Any]:
    """Return the elements of a JSON array: as `GivenEntry` if all are, else of any type. Raises
    `ValueError` if it is no JSON.
    """
    try:
        return _decode(data)
    except msgspec.ValidationError:
        found: list[Any] = msgspec.json.decode(data)
        return found


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
        self._version: str | None = None
        self._tags: set[str] = set()
        """The ends of names of wheels that are known to be valid."""

    def version_of(self, filename: str) -> str | None:
        """Return the version, as `listed_names.version_of`, if the name needs no quotes in a URL;
        else None.
        """
        is_known = filename.startswith(self._stem) and filename[len(self._stem) :] in self._tags
        if is_known and len(filename) < LONGEST_NAME:
            return self._version
        version = version_of(filename, self._project)
        if version is None or len(filename) > LONGEST_FILENAME or not is_unreserved(filename):
            return None
        name, _, rest = filename.partition("-")
        spelled, _, tags = rest.partition("-")
        usual = usual_name_and_version(name, spelled)
        is_usual = usual == (self._project, version) and len(filename) < LONGEST_NAME
        if is_usual and tags.endswith(".whl") and are_usual_tags(tags[:-4]):
            self._stem, self._version = f"{name}-{spelled}-", version
            self._tags.add(tags)
        return version


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
        self._name = name
        self._url = f"{FILES_URL}{name}/"
        self._folder_of = folder_of
        self._serves = serves
        self._version_of = PlainNames(name).version_of

    def rows(self, entries: list[GivenEntry]) -> list[tuple[str, Row] | None]:
        """Return the version and the row of each entry of the usual form; None for any other, which
        may still be valid, and is not changed.
        """
        names = [entry.filename for entry in entries]
        folders = self._folders(names, [entry.url for entry in entries])
        if folders is not None and _are_usual(entries):
            return [
                self._row(entry, filename, folder)
                for entry, filename, folder in zip(entries, names, folders, strict=True)
            ]
        half = len(entries) // 2
        return self.rows(entries[:half]) + self.rows(entries[half:]) if half else [None]

    def _row(self, entry: GivenEntry, filename: str, folder: str) -> tuple[str, Row] | None:
        version = self._version_of(filename)
        if version is None:
            return None
        provenance = entry.provenance or None
        is_unverified = entry.core_metadata is True and not self._serves(folder + filename)
        entry.become_ours(self._url + filename, has_metadata=not is_unverified)
        return version, (filename, entry, folder, provenance, None)

    def _folders(self, names: list[str], urls: list[str]) -> list[str] | None:
        """Return the folders of the URLs, whose last parts are these names; None if any needs
        further checks.
        """
        if not all(map(str.endswith, urls, names)) or max(map(len, urls)) > LONGEST_TEXT:
            return None
        folders = [url[: -len(name)] for url, name in zip(urls, names, strict=True)]
        if folders.count(folders[0]) == len(folders):
            folder = folders[0] if _FOLDER(folders[0]) else self._folder_of(folders[0])
            return None if folder is None else [folder] * len(folders)
        found = _ORIGIN(folders[0])
        origin = "" if found is None else found[0]
        # lists: they are faster than generators
        if not origin or False in [folder.startswith(origin) for folder in folders]:
            return None
        if False in [folder.endswith("/") for folder in folders]:
            return None
        paths = "/" + "".join([folder[len(origin) :] for folder in folders])
        is_clean = paths.isascii() and not paths.encode().translate(None, _CLEAN)
        return folders if is_clean and "//" not in paths and "/." not in paths else None


def _are_usual(entries: list[GivenEntry]) -> bool:
    """Return whether all parts of the entries, besides names and URLs, can be kept as they are."""
    sizes = [size for entry in entries if type(size := entry.size) is int]
    times = [time for entry in entries if isinstance(time := entry.upload_time, datetime)]
    return (
        _are_usual_hashes(entries)
        and _are_usual_texts(entries)
        and {time.tzinfo for time in times} <= {UTC}
        and (not sizes or (min(sizes) >= 0 and max(sizes) <= LARGEST_SIZE))
    )


def _are_usual_hashes(entries: list[GivenEntry]) -> bool:
    hashes = [entry.hashes for entry in entries]
    for entry in entries:
        metadata = entry.core_metadata
        if type(metadata) is dict:
            hashes.append(metadata)
        elif (metadata is None or metadata is UNSET) and not (
            _offers_nothing(entry.dist_info_metadata)
            and _offers_nothing(entry.data_dist_info_metadata)
        ):
            return False
    digests = [one.get("sha256", "") for one in hashes]
    if {*map(len, hashes)} != {1} or {*map(len, digests)} != {64}:
        return False
    text = "".join(digests)
    return text.isascii() and not text.encode().translate(None, b"0123456789abcdef")


def _offers_nothing(metadata: _Metadata) -> bool:
    return metadata is UNSET or metadata is None or metadata is False


def _are_usual_texts(entries: list[GivenEntry]) -> bool:
    specifiers = {entry.requires_python for entry in entries}
    reasons = {reason for entry in entries if type(reason := entry.yanked) is str}
    if any(not reason.strip() or not _is_usual_reason(reason) for reason in reasons):
        return False
    urls = [url for entry in entries if (url := entry.provenance)]
    return all(not text or _is_usual_text(text) for text in specifiers) and (
        not urls or _SECURE_URLS("\n".join(urls)) is not None
    )


def _is_usual_reason(text: str) -> bool:
    return len(text) < LONGEST_TEXT and text.isprintable()


def _is_usual_text(text: str) -> bool:
    return text == text.strip() and _is_usual_reason(text)
