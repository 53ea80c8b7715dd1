"""Fast parsing of links in the form that nearly all indexes write: a page has ten thousand, and
most pages consist of nothing else.

Only links of exactly this form are accepted: the URL is absolute and clean, the hash is a sha256,
each attribute occurs once and has double quotes and the usual escapes. Any other link is left to
`core.simple_api.parse_html`, which yields the same file for the same link.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from html import unescape

from msgspec import UNSET, UnsetType

from pypid.core.model import ListedFile
from pypid.core.packaging.listed_names import version_of
from pypid.core.packaging.names import LONGEST_FILENAME, ProjectName
from pypid.core.simple_api.entries import FILES_URL, Entry
from pypid.core.simple_api.fast_entries import LONGEST_TEXT, PlainNames
from pypid.core.simple_api.packing import Row
from pypid.core.simple_api.parse import moment_of, secure, specifier_of, yanked_of

Usual = tuple[str | None, ...]
"""The groups of `_LINK`."""

ESCAPED = r"[^\"<>&]*+(?:&(?:amp|lt|gt|quot|\#39|\#x27);[^\"<>&]*+)*+"
"""The value of an attribute with common escapes only: `unescape` decodes it exactly like an HTML
parser.
"""
LINE_END = r"\s*+>[^<>&]*+</a>\s*+(<br\s*+/?>)?"
"""The rest of a link, and what follows it in most pages."""
_URL = (
    r"https?://[A-Za-z0-9.-]{1,253}(?::[1-9][0-9]{0,3})?+"
    r"(?:/[A-Za-z0-9_~!+,=-][A-Za-z0-9._~!+,=-]*+)++"
)
_VALUES = (
    ("data-requires-python", ESCAPED),
    ("data-upload-time", r"[0-9T:.Z+-]{1,40}+"),
    ("data-yanked", ESCAPED),
    ("data-size", r"[0-9]{1,15}+"),
    ("data-core-metadata", r"sha256=[0-9a-f]{64}|true"),
    ("data-dist-info-metadata", r"sha256=[0-9a-f]{64}|true"),
    ("data-provenance", ESCAPED),
    ("data-gpg-sig", r"true|false"),
    ("rel", ESCAPED),
)
# (?(3)(?!)): the third group has matched already, so this would be a duplicate
_ONCE = "|".join(
    rf'{name}="(?({group})(?!))({value})"' for group, (name, value) in enumerate(_VALUES, 3)
)
_LINK = re.compile(
    rf'\s*+<a\s++href="({_URL})\#sha256=([0-9a-f]{{64}})"(?:\s++(?:{_ONCE}))*+{LINE_END}', re.ASCII
).match


def usual_links(text: str, position: int, links: list[Usual]) -> int:
    """Append the consecutive links at `position`; return the position after them."""
    while (found := _LINK(text, position)) is not None:
        links.append(found.groups())
        position = found.end()
    return position


def file_of_usual(link: Usual, name: ProjectName) -> ListedFile | None:
    """Return the file of a link, or None if it cannot be used, like `parse.file_of`."""
    url, sha256, requires, uploaded, yanked, size, metadata, older_metadata, provenance, *_ = link
    assert url is not None
    filename = url.rpartition("/")[2]
    if len(filename) > LONGEST_FILENAME or len(url) > LONGEST_TEXT:
        return None
    version = version_of(filename, name)
    if version is None:
        return None
    metadata = metadata or older_metadata
    return ListedFile(
        project=name,
        filename=filename,
        version=version,
        sha256=sha256,
        size=None if size is None else int(size),
        uploaded=None if uploaded is None else moment_of(uploaded),
        requires_python=None if requires is None else _specifier(requires),
        metadata_sha256=None if metadata is None or metadata == "true" else metadata[7:],
        metadata_offered=metadata is not None,
        yanked=None if yanked is None else yanked_of(unescape(yanked)) or "",
        source=url,
        provenance_url=None if provenance is None else secure(unescape(provenance)),
    )


class UsualLinks:
    """Makes rows of the links of one page; `serves` as for `parse_pages.slices_of_page`."""

    def __init__(self, name: ProjectName, serves: Callable[[str], bool]) -> None:
        self._url = f"{FILES_URL}{name}/"
        self._serves = serves
        self._version_of = PlainNames(name).version_of

    def row(self, link: Usual) -> tuple[str, Row] | None:
        """Return the version and the row of a link to a file that is not yanked and has a plain
        name; None for any other.
        """
        url, sha256, requires, time, yanked, size, offer, older_offer, provenance, *_ = link
        assert url is not None and sha256 is not None
        folder, slash, filename = url.rpartition("/")
        version = self._version_of(filename)
        specifier = requires and _specifier(requires)
        uploaded = None if time is None else moment_of(time)
        is_usual = yanked is provenance is None and len(url) <= LONGEST_TEXT
        if version is None or not is_usual or (specifier and not specifier.isprintable()):
            return None
        offer = offer or older_offer
        metadata: dict[str, str] | bool | UnsetType = UNSET
        if offer is not None:
            metadata = offer == "true" or {"sha256": offer[7:]}
            if metadata is True and not self._serves(url):
                metadata = UNSET  # without a hash it could not be verified
        entry = Entry(
            filename=filename,
            url=self._url + filename,
            hashes={"sha256": sha256},
            size=UNSET if size is None else int(size),
            upload_time=uploaded or UNSET,
            requires_python=specifier or UNSET,
            core_metadata=metadata,
        )
        return version, (filename, entry, folder + slash, None, None)


@lru_cache(maxsize=1024)
def _specifier(text: str) -> str | None:
    """Return the parsed specifier; cached, since a page has few of them, each many times."""
    return specifier_of(unescape(text))


def attributes_of(link: Usual) -> dict[str, str | None]:
    """Return the attributes of the link as an HTML parser does."""
    attributes: dict[str, str | None] = {"href": f"{link[0]}#sha256={link[1]}"}
    for (name, _), value in zip(_VALUES, link[2:-1], strict=True):
        if value is not None:
            attributes[name] = unescape(value)
    return attributes
