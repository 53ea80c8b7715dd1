"""What another index says of a project: its JSON or HTML page, read, and cleaned of what pip or uv would choke on.

Sources: "Simple repository API" (packaging.python.org), and what indexes really send: null and empty optional keys
(bandersnatch's mirrors), missing sizes, unknown keys, api 1.5 with namespaces, odd HTML. What cannot be understood of one file
leaves that file out, or that key; what cannot be understood of the whole is `BadListing`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import msgspec
from attrs import field, frozen
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from pypid.core.errors import BadFilename, BadListing, BadName
from pypid.core.model import File, Status, in_order
from pypid.core.names import LONGEST_FILENAME, ProjectName, parse_filename, project_name

LONGEST_TEXT = 4096
"""Characters of a reason, a specifier or a URL."""
_HEX = {"sha256": 64, "md5": 32, "blake2b_256": 64, "sha384": 96, "sha512": 128, "sha224": 56, "sha1": 40}
_VARIANT = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-[^-]+-[^-]+-[^-]+-(?P<label>[a-z0-9_.]{1,16})\.whl\Z")
"""A wheel of a variant (PEP 825, draft): a label behind the tags."""
_VARIANTS = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)-variants\.json\Z")


@frozen(kw_only=True)
class Listing:
    """A project's page, understood. `left_out` counts files that could not be."""

    files: tuple[File, ...] = field(repr=False)
    status: Status = Status.ACTIVE
    status_reason: str = ""
    left_out: int = 0


def read_json(data: bytes, name: ProjectName, url: str) -> Listing:
    """The listing in a JSON page that came from `url` (relative links count from it). Raises `BadListing`."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadListing(f"its JSON is damaged: {error}.") from None
    if not isinstance(document, dict) or not isinstance(document.get("files"), list):
        raise BadListing("its JSON is not a project's page.")
    meta = document.get("meta")
    must_be_known(meta.get("api-version") if isinstance(meta, dict) else None)
    _must_be_of(name, document.get("name"))
    files = [file_of(entry, name, url) for entry in document["files"] if isinstance(entry, dict)]
    status, reason = status_of(document.get("project-status"))
    return collected(files, status, reason)


def collected(files: Iterable[File | None], status: Status, reason: str) -> Listing:
    """The listing of these files, each name once; None counts as left out."""
    found: dict[str, File] = {}
    left_out = 0
    for file in files:
        if file is None or file.filename in found:
            left_out += 1
        else:
            found[file.filename] = file
    return Listing(files=in_order(tuple(found.values())), status=status, status_reason=reason, left_out=left_out)


def must_be_known(version: object) -> None:
    """Raise `BadListing` for a repository version of a higher major (PEP 629: clients MUST fail). None is 1.0."""
    major = str(version if version is not None else "1.0").partition(".")[0]
    if major != "1":
        raise BadListing(f"its repository version is {str(version)[:20]!r}, and only 1.x is known here.")


def _must_be_of(name: ProjectName, said: object) -> None:
    try:
        other = project_name(said) if isinstance(said, str) else name
    except BadName:
        raise BadListing("its project has no name that is one.") from None
    if other != name:
        raise BadListing(f"it is the page of {other!r}, not of {name!r}.")


def status_of(said: object) -> tuple[Status, str]:
    """The project status marker (PEP 792), and its reason; a status that is not known counts as active."""
    if isinstance(said, str):
        said = {"status": said}
    if not isinstance(said, dict):
        return Status.ACTIVE, ""
    try:
        status = Status(said.get("status", "active"))
    except ValueError:
        status = Status.ACTIVE
    return status, _text(said.get("reason")) or ""


def file_of(entry: Mapping[str, Any], name: ProjectName, base: str) -> File | None:
    """One file of a page, or None where it cannot be used."""
    url = _url(entry.get("url"), base)
    if url is None:
        return None
    # pip takes the name from the URL, uv and poetry from the entry: only one that both agree on is safe
    filename = unquote(urlsplit(url).path.rpartition("/")[2])
    if entry.get("filename", filename) != filename or len(filename) > LONGEST_FILENAME:
        return None
    version = version_of(filename, name)
    if version is None:
        return None
    hashes = hashes_of(entry.get("hashes"))
    metadata = entry.get("core-metadata")
    if metadata is None:
        metadata = entry.get("dist-info-metadata", entry.get("data-dist-info-metadata"))
    size = entry.get("size")
    return File(
        project=name,
        filename=filename,
        version=version,
        sha256=hashes.get("sha256"),
        md5=hashes.get("md5"),
        blake2b_256=hashes.get("blake2b_256"),
        size=size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
        uploaded=moment_of(entry.get("upload-time")),
        requires_python=_specifier(entry.get("requires-python")),
        metadata_sha256=hashes_of(metadata).get("sha256"),
        yanked=yanked_of(entry.get("yanked")),
        source=url,
        signed=entry.get("gpg-sig") is True,
        provenance_url=_secure(entry.get("provenance")),
    )


def version_of(filename: str, name: ProjectName) -> str | None:
    """The version in the file name; None for what no installer takes, or for another project's file."""
    variant = _VARIANTS.match(filename) or (None if _is_plain(filename) else _VARIANT.match(filename))
    try:
        if variant is not None:
            return str(Version(variant["version"])) if project_name(variant["name"]) == name else None
        parsed = parse_filename(filename)
    except (BadFilename, BadName, InvalidVersion):
        return None
    return parsed.version if parsed.project == name else None


def _is_plain(filename: str) -> bool:
    try:
        parse_filename(filename)
    except BadFilename:
        return False
    return True


def is_mutable(filename: str) -> bool:
    """Whether the file may change under its name: the list of a release's variants (PEP 825, draft; C37)."""
    return _VARIANTS.match(filename) is not None


def hashes_of(said: object) -> dict[str, str]:
    """The hashes that are some: known algorithm to lower-case hex of the right length."""
    if not isinstance(said, Mapping):
        return {}
    found = {}
    for algorithm, value in said.items():
        if isinstance(algorithm, str) and isinstance(value, str) and _is_hex(value, _HEX.get(algorithm.lower(), 0)):
            found[algorithm.lower()] = value.lower()
    return found


def _is_hex(value: str, length: int) -> bool:
    return len(value) == length and not value.strip("0123456789abcdefABCDEF")


def yanked_of(said: object) -> str | None:
    """PEP 592: false, true, or a reason. Empty and null count as not yanked, as pip has it (uv takes "" for yanked)."""
    if said is True:
        return ""
    return _text(said)


def moment_of(said: object) -> datetime | None:
    """An upload time, aware, UTC; None where there is none, or none that can be read. Without a zone it counts as UTC."""
    if not isinstance(said, str) or len(said) > 40:
        return None
    try:
        moment = datetime.fromisoformat(said)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _specifier(said: object) -> str | None:
    text = _text(said)
    if text is None:
        return None
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return None  # pip ignores one that it cannot read, uv drops the file
    return text


def _text(said: object) -> str | None:
    text = said.strip()[:LONGEST_TEXT] if isinstance(said, str) else ""
    return text or None


def _url(said: object, base: str) -> str | None:
    """The absolute URL of a file, without fragment; http and https only, and no credentials that the page brings along."""
    if not isinstance(said, str) or not 0 < len(said) <= LONGEST_TEXT:
        return None
    try:
        joined = urljoin(base, said)
        parts = urlsplit(joined)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            return None
        return parts._replace(fragment="").geturl()
    except ValueError:
        return None


def _secure(said: object) -> str | None:
    text = _text(said)
    return text if text is not None and text.startswith("https://") else None
