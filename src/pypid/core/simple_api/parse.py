"""Parsing an upstream project page in JSON or HTML, without values that pip or uv would choke on.

Sources: "Simple repository API" (packaging.python.org), and what indexes really send: null and
empty optional keys (bandersnatch's mirrors), missing sizes, unknown keys, api 1.5 with namespaces,
odd HTML. An unparseable part of a file drops that file, or that key; an unparseable page is
`BadListing`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import groupby
from typing import Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import msgspec
from attrs import evolve, field, frozen
from msgspec.structs import replace

from pypid.core.errors import BadListing, BadName, shortened
from pypid.core.model import ListedFile, Status
from pypid.core.packaging.listed_names import version_of
from pypid.core.packaging.names import LONGEST_FILENAME, ProjectName, project_name
from pypid.core.simple_api.fast_entries import (
    LARGEST_SIZE,
    LONGEST_TEXT,
    GivenEntry,
    UsualEntries,
    as_any,
    decode_entries,
)
from pypid.core.simple_api.json_elements import elements
from pypid.core.simple_api.listed_files import ListedFiles
from pypid.core.simple_api.packing import Packer, at_once, row_of

MOST_FILES = 500_000
"""Maximum number of entries of one page, which take half a gigabyte until they are packed; the
largest project of the public index has some ten thousand.
"""
FEW = 128
"""Files parsed without a pause: some 3 milliseconds."""
_OTHERS = ("sha512", "sha384", "blake2b", "sha224", "sha1")
_HEX = {
    "sha256": 64,
    "md5": 32,
    "blake2b_256": 64,
    "sha512": 128,
    "sha384": 96,
    "blake2b": 128,
    "sha224": 56,
    "sha1": 40,
}
T = TypeVar("T")


@frozen(kw_only=True)
class ParsedListing:
    """A parsed project page. `left_out` counts unusable files."""

    files: ListedFiles = field(repr=False)
    status: Status = Status.ACTIVE
    status_reason: str = ""
    left_out: int = 0
    is_doubtful: bool = False
    """Whether it may be an error page: HTML without files or a status, or JSON without files,
    ``meta`` and ``name``, which a page must have (PEP 691).
    """


Serves = Callable[[str], bool]
Slices = Generator[None, None, ParsedListing]
"""A page being parsed: a generator that pauses after every few milliseconds, so that other threads
run; returns the listing.
"""


def any_url(url: str) -> bool:
    """Return True."""
    return True


def slices_of_json(
    data: bytes | bytearray, name: ProjectName, url: str, serves: Serves = any_url
) -> Slices:
    """Return the listing in a JSON page from `url` (the base of relative links), as slices. Raises
    `BadListing`.
    """
    gathered = Gathered(name, url, serves)
    entries = elements(data, "files", decode_entries)
    while True:
        try:
            some = next(entries)
        except StopIteration as ended:
            rest: dict[str, Any] = ended.value
            break
        for start in range(0, len(some), FEW):
            gathered.take(some[start : start + FEW])
            yield
    meta = rest.get("meta")
    must_be_known(meta.get("api-version") if isinstance(meta, dict) else None)
    _must_be_of(name, rest.get("name"))
    yield
    listing = yield from gathered.listing(*status_of(rest.get("project-status")))
    says_nothing = not listing.files and not isinstance(meta, dict) and rest.get("name") is None
    return evolve(listing, is_doubtful=True) if says_nothing else listing


def read_json(data: bytes | bytearray, name: ProjectName, url: str) -> ParsedListing:
    """Return the listing in a JSON page from `url`, without pauses. Raises `BadListing`."""
    return at_once(slices_of_json(data, name, url))


class Gathered:
    """The files of a page, each name once: the first counts."""

    def __init__(self, name: ProjectName, url: str, serves: Serves = any_url) -> None:
        self._name = name
        self._url = url
        self._serves = serves
        self._packer = Packer(name)
        self._taken = 0
        self._unusable = 0
        # without a reference to this object: in a circle the page would stay in memory for long
        self._usual = UsualEntries(name, partial(_clean_folder, url), serves)

    def take(self, entries: list[Any]) -> None:
        """Add some entries of the page; unusable ones are counted. Raises `BadListing` if there are
        too many.
        """
        self._taken += len(entries)
        if self._taken > MOST_FILES:
            raise BadListing(f"it lists more than {MOST_FILES} files.")
        for kind, some in groupby(entries, type):
            if kind is GivenEntry:
                self._usual.add(list(some), self._packer.versions, self._take_given)
            else:
                for entry in some:
                    self._take_any(entry)

    def _take_given(self, entry: GivenEntry) -> None:
        self._take_any(as_any(entry))

    def _take_any(self, entry: object) -> None:
        file = file_of(entry, self._name, self._url) if isinstance(entry, dict) else None
        if file is None:
            self._unusable += 1
            return
        is_unverified = file.metadata_offered and file.metadata_sha256 is None
        if is_unverified and not self._serves(file.source):
            file = replace(file, metadata_offered=False)  # it could not be verified
        self._packer.versions[file.version].append(row_of(file))

    def listing(self, status: Status, reason: str) -> Slices:
        """Return the listing of all files taken, as slices."""
        files = yield from self._packer.pack()
        left_out = self._unusable + self._packer.duplicates
        return ParsedListing(files=files, status=status, status_reason=reason, left_out=left_out)


def _clean_folder(base: str, text: str) -> str | None:
    """Return the URL of a relative folder that needs no further checks."""
    clean = _CLEAN_FOLDER(text)
    return None if clean is None else _below(clean, base)


def must_be_known(version: object) -> None:
    """Raise `BadListing` for a repository version of another major (PEP 629: clients MUST fail).
    None is 1.0.
    """
    text = (
        "1.0" if version is None else repr(version) if isinstance(version, float | int) else version
    )
    if not isinstance(text, str) or text.strip().partition(".")[0] != "1":
        raise BadListing(
            f"its repository version is {shortened(str(text), 20)!r}, and only 1.x is known here."
        )


def _must_be_of(name: ProjectName, value: object) -> None:
    try:
        other = project_name(value) if isinstance(value, str) else name
    except BadName:
        raise BadListing("its project has no name that is one.") from None
    if other != name:
        raise BadListing(f"it is the page of {other!r}, not of {name!r}.")


def status_of(value: object) -> tuple[Status, str]:
    """Return the project status marker (PEP 792), and its reason; an unknown status counts as
    active.
    """
    if isinstance(value, str):
        value = {"status": value}
    if not isinstance(value, dict):
        return Status.ACTIVE, ""
    try:
        status = Status(value.get("status", "active"))
    except ValueError:
        status = Status.ACTIVE
    return status, _text(value.get("reason")) or ""


def file_of(entry: Mapping[str, Any], name: ProjectName, base: str) -> ListedFile | None:
    """Return one file of a page, or None if it is unusable."""
    url = _url(entry.get("url"), base)
    if url is None:
        return None
    # pip takes the name from the URL, uv and poetry from the entry: only a name in both is safe
    filename = unquote(url.partition("?")[0].rpartition("/")[2])
    if len(filename) > LONGEST_FILENAME or entry.get("filename", filename) != filename:
        return None
    version = version_of(filename, name)
    if version is None:
        return None
    hashes = hashes_of(entry.get("hashes"))
    metadata = _metadata_of(entry)
    return ListedFile(
        project=name,
        filename=filename,
        version=version,
        sha256=hashes.get("sha256"),
        md5=hashes.get("md5"),
        blake2b_256=hashes.get("blake2b_256"),
        digest=_strongest(hashes),
        size=_size(entry.get("size")),
        uploaded=moment_of(entry.get("upload-time")),
        requires_python=specifier_of(entry.get("requires-python")),
        metadata_sha256=None if metadata is None else metadata.get("sha256"),
        metadata_offered=metadata is not None,
        yanked=yanked_of(entry.get("yanked")),
        source=url,
        provenance_url=secure(entry.get("provenance")),
    )


def hashes_of(value: object) -> dict[str, str]:
    """Return the valid hashes: known algorithm to lower-case hex of the right length."""
    if not isinstance(value, dict):
        return {}
    sha256 = value.get("sha256")
    if len(value) == 1 and isinstance(sha256, str) and _IS_SHA256(sha256):
        return value
    found = {}
    for algorithm, digest in value.items():
        length = _HEX.get(algorithm.lower()) if isinstance(algorithm, str) else None
        if isinstance(digest, str) and len(digest) == length and _is_hex(digest):
            found[algorithm.lower()] = digest.lower()
    return found


_is_hex = re.compile(r"[0-9a-fA-F]+\Z").match
_IS_SHA256 = re.compile(r"[0-9a-f]{64}\Z").match


def _strongest(hashes: Mapping[str, str]) -> str | None:
    if "sha256" in hashes:
        return None
    return next(
        (f"{algorithm}={hashes[algorithm]}" for algorithm in _OTHERS if algorithm in hashes), None
    )


def _metadata_of(entry: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the hashes of the core metadata that upstream serves beside the file, which may be
    empty; None: it serves none.
    """
    value = entry.get("core-metadata")
    for older in (
        "dist-info-metadata",
        "data-dist-info-metadata",
    ):  # PEP 658's name, and the public index's variant
        if value is None:
            value = entry.get(older)
    return hashes_of(value) if value is True or isinstance(value, dict) else None


def yanked_of(value: object) -> str | None:
    """Return the yank (PEP 592): false, true, or a reason, which keeps the white space around it.
    Empty and null count as not yanked, as in pip (uv takes "" for yanked).
    """
    if isinstance(value, str):
        return value[:LONGEST_TEXT] if value.strip() else None
    return "" if value is True else None


def moment_of(value: object) -> datetime | None:
    """Return an upload time, aware, UTC; None if it is absent or invalid. Without a zone it counts
    as UTC.
    """
    if not isinstance(value, str):
        return None
    try:
        moment = _moment(value)
        if moment.tzinfo is UTC:
            return moment
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _moment(text: str) -> datetime:
    try:
        return msgspec.convert(text, datetime)  # first: entries of the usual form are read by it
    except msgspec.ValidationError:
        return datetime.fromisoformat(text)


def _size(value: object) -> int | None:
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_SIZE
        else None
    )


def specifier_of(value: object) -> str | None:
    """Return the Requires-Python specifier of the file."""
    # passed on as it is: pip ignores an invalid specifier, and uv repairs it or skips the file
    text = _text(value)
    return text if text is not None and len(text) < LONGEST_TEXT else None


def _text(value: object) -> str | None:
    if value is None:
        return None
    text = value.strip()[:LONGEST_TEXT] if isinstance(value, str) else ""
    return text or None


_CLEAN_URL = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(/[A-Za-z0-9._~!+,=%/-]+)\Z").match


_RELATIVE = r"(/|(?:\.\./)++)?+((?:[A-Za-z0-9_~!+,=-][A-Za-z0-9._~!+,=-]*+/)++"
_CLEAN_FOLDER = re.compile(rf"{_RELATIVE})\Z").match
_CLEAN_RELATIVE = re.compile(rf"{_RELATIVE}[A-Za-z0-9][A-Za-z0-9._~!+,=-]*+)\Z").match
"""A folder, from the root or relative to the page, and a file in it; neither needs further
checks.
"""


def _url(value: object, base: str) -> str | None:
    """Return the absolute URL of a file, without fragment; http and https only, and without
    credentials in the page.
    """
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT:
        return None
    clean = _CLEAN_URL(value)
    if (
        clean is not None
        and "//" not in clean[1]
        and "/." not in clean[1]
        and not value.endswith("/")
    ):
        return value
    relative = _CLEAN_RELATIVE(value)
    return _joined(value, base) if relative is None else _below(relative, base)


def _below(relative: re.Match[str], base: str) -> str | None:
    """Return the URL of a clean relative path: only its beginning, "../../", needs to be joined."""
    beginning = _joined(relative[1] or "./", base)
    return None if beginning is None else beginning + relative[2]


@lru_cache(maxsize=1024)
def _joined(text: str, base: str) -> str | None:
    try:
        url = urlsplit(urljoin(base, text.partition("#")[0].strip()))
        if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:
            return None
        return url._replace(netloc=url.netloc.rpartition("@")[2], fragment="").geturl()
    except ValueError:
        return None


def secure(value: object) -> str | None:
    """Return the URL of a provenance object if it is a secure one, else None."""
    text = _text(value)
    return (
        text
        if text is not None and text.startswith("https://") and len(text) < LONGEST_TEXT
        else None
    )
