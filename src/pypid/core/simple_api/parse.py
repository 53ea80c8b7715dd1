"""Upstream pages in JSON: the usual form fast, any other form strictly, long ones in steps; without
values that pip or uv would choke on.

Sources: "Simple repository API" (packaging.python.org), and what indexes really send: null and
empty optional keys (bandersnatch's mirrors), missing sizes, unknown keys, api 1.5 with namespaces,
odd HTML. An unparseable part of a file drops that file, or that key; an unparseable page is
`BadListing`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import groupby, islice, repeat
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import msgspec
from attrs import evolve, field, frozen
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from pypid.core.errors import BadListing, BadName, shortened
from pypid.core.model import ListedFile, Status
from pypid.core.packaging.names import (
    LONGEST_FILENAME,
    LONGEST_NAME,
    ProjectName,
    are_usual_tags,
    listed_version,
    project_name,
    usual_name_and_version,
)
from pypid.core.simple_api.listed_files import (
    FILES_URL,
    ListedFiles,
    Packer,
    Row,
    RowsByVersion,
    is_unreserved,
    row_of,
)

# Fast parsing of JSON entries in the form that nearly all indexes write: a page has ten thousand.
#
# An entry is decoded into a typed struct, checked, and packed as it is, without the parts that
# pages do not show. An entry of any other form is left to `core.simple_api.parse.file_of`, which
# yields the same file for the same entry.

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
_HEX_DIGITS = b"0123456789abcdef"
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
        """Return each name's `listed_version`; None for one that needs quotes in a URL."""
        found, stem, end = [], self._stem, len(self._stem)
        for filename in filenames:
            is_known = filename.startswith(stem) and filename[end:] in self._tags
            if (is_known and len(filename) < LONGEST_NAME) or filename == self._sdist:
                found.append(self._version)
            else:
                found.append(self._parsed(filename))
                stem, end = self._stem, len(self._stem)
        return found

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
        return listed_version(filename, self._project) if is_plain else None


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
        """Return the folders of the URLs that end in these names; None if any needs checks."""
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
        and not digests.encode().translate(None, _HEX_DIGITS)
        and _are_usual_texts(entries)
    )


def _are_usual_texts(entries: list[GivenEntry]) -> bool:
    specifiers = {entry.requires_python for entry in entries}
    reasons = {entry.yanked for entry in entries}
    urls = [url for entry in entries if (url := entry.provenance)]
    return (
        all(type(reason) is not str or _is_usual_reason(reason) for reason in reasons)
        and all(
            not text or (text == text.strip() and _is_usual_reason(text)) for text in specifiers
        )
        and (not urls or _are_secure(urls))
    )


def _is_usual_reason(text: str) -> bool:
    return text.strip() != "" and len(text) < LONGEST_TEXT and text.isprintable()


def _are_secure(urls: list[str]) -> bool:
    """Return whether these are https URLs without spaces or control characters."""
    text = "\n" + "\n".join(urls)
    return (
        text.count("\nhttps://") == len(urls)
        and text.isascii()
        and text.encode().translate(None, _VISIBLE) == b"\n" * len(urls)
    )


# Incremental decoding of a large JSON document with one long array, some elements at a time, so
# that other threads are not blocked.
#
# Decoding 40 MB in one call takes 150 ms, during which no other thread runs. So the text is cut,
# and each cut is verified by decoding: JSON is read from left to right without lookahead, so if
# ``[`` + the beginning of an array + ``]`` is valid, that beginning consists of whole elements,
# and the array continues after it.

SLICE = 1 << 16
"""Bytes decoded at a time: some 300 microseconds."""
NEAR = 1 << 12
"""Bytes before the end of a slice in which most elements end."""
LARGEST_ELEMENT = 4 << 20
"""Bytes of one element, and of what surrounds the array; no index has larger ones."""
GUESSES_AT_BEGINNING = 32
GUESSES_AT_END = 4
"""Positions tried for the beginning of the array, and for the end of a slice."""

_BETWEEN = (b"},{", b"}, {")
"""What indexes write between two elements."""
_LAST = (b"}]", b"} ]")
"""What they write after the last one."""
_END = re.compile(rb"\s*\]")
_COMMA = re.compile(rb"\s*,\s*")
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
"""Strings and brackets; one without an end extends to the end, so none is read twice."""


Decode = Callable[[bytes], list[Any]]


def elements(
    data: bytes | bytearray, key: str, decode: Decode = msgspec.json.decode
) -> Generator[list[Any], None, dict[str, Any]]:
    """Yield the elements of the array under `key` of the JSON object `data`, some at a time; return
    the rest of the object. `decode` returns the elements of an array, or raises `ValueError`.

    Raises `BadListing` if it is not an object with such an array of objects, or if an element is
    larger than `LARGEST_ELEMENT`.
    """
    head, position = _beginning(data, key)
    while (end := _END.match(data, position)) is None:
        found, position = _slice(data, position, decode)
        yield found
        comma = _COMMA.match(data, position)
        if comma is not None:
            position = comma.end()
        elif _END.match(data, position) is None:
            raise BadListing("its JSON is damaged.")
    if len(data) - end.end() > LARGEST_ELEMENT:
        raise BadListing(f"there is too much in its JSON beside {key!r}.")
    try:
        rest = msgspec.json.decode(b'{"":0' + data[end.end() :])
    except (ValueError, RecursionError):
        raise BadListing("its JSON is damaged.") from None
    if not isinstance(rest, dict) or key in rest:
        raise BadListing(f"its JSON says {key!r} twice.")
    return {**head, **rest}


def _beginning(data: bytes | bytearray, key: str) -> tuple[dict[str, Any], int]:
    """Return what precedes the array, and the position of its first element."""
    opening = re.compile(rb'"' + key.encode() + rb'"\s*:\s*\[\s*')
    for found in islice(opening.finditer(data, 0, LARGEST_ELEMENT), GUESSES_AT_BEGINNING):
        try:
            head = msgspec.json.decode(data[: found.end()] + b"]}")
        except (ValueError, RecursionError):
            continue  # inside a string, or nested deeper
        if isinstance(head, dict):
            return head, found.end()
    raise BadListing(f"it is no JSON object with a list of {key!r}, or it is damaged.")


def _slice(data: bytes | bytearray, start: int, decode: Decode) -> tuple[list[Any], int]:
    """Return whole elements from `start` on, and the position after the last of them."""
    limit = min(start + SLICE, len(data))
    # at the end of an element rather than of an object in it
    texts = _BETWEEN if limit < len(data) else _LAST
    near = max(start, limit - NEAR)  # first: a text that occurs nowhere is sought everywhere
    between = [data.rfind(text, near, limit) for text in texts]
    if max(between) < 0:
        between = [data.rfind(text, start, limit) for text in texts]
    stop = max(between)
    if stop < 0:
        stop = data.rfind(b"}", start, limit)
    for _ in range(GUESSES_AT_END):
        if stop < 0:
            break
        try:
            return decode(b"[" + data[start : stop + 1] + b"]"), stop + 1
        except (ValueError, RecursionError):  # in a string, in an element, or after the array
            stop = data.rfind(b"}", start, stop)
    stop = _scanned(data, start)
    try:
        return decode(b"[" + data[start:stop] + b"]"), stop
    except (ValueError, RecursionError):
        raise BadListing("its JSON is damaged.") from None


def _scanned(data: bytes | bytearray, start: int) -> int:
    """Return the end of the elements that begin at `start`, found bracket by bracket: slow, for
    texts where guessing fails.
    """
    depth, stop = 0, start
    for token in _TOKENS.finditer(data, start, start + LARGEST_ELEMENT):
        bracket = token[0][:1]
        if bracket in b"{[":
            depth += 1
        elif bracket in b"}]":
            depth -= 1
            if depth < 0:
                break
            if depth == 0:
                stop = token.end()
                if stop - start >= SLICE:
                    break
    if stop == start:
        raise BadListing("its JSON is damaged, or an element of it is too large.")
    return stop


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
    """Return the listing in a JSON page from `url`, as slices. Raises `BadListing`."""
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
        """Add entries of the page; unusable ones are counted. Raises `BadListing` for too many."""
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
        self._take_any(msgspec.to_builtins(entry))

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
    """Raise `BadListing` for another major version (PEP 629: MUST fail). None is 1.0."""
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
    """Return the project status marker (PEP 792) and its reason; an unknown one is active."""
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
    version = listed_version(filename, name)
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
    """Return an upload time in UTC, also without a zone; None if it is absent or invalid."""
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
"""A folder (absolute or relative to the page) and a file in it, which need no checks."""


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
