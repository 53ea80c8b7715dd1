"""Fast parsing of links in the form that nearly all indexes write: a page has ten thousand, and
most pages consist of nothing else.

Only links of exactly this form are accepted: the URL is clean, the hash is a sha256, each attribute
occurs once and has double quotes and the usual escapes. Any other link is left to
`core.simple_api.parse_html`, which yields the same file for the same link.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import unescape

from msgspec import UNSET

from pypid.core.simple_api.fast_entries import LONGEST_TEXT, GivenEntry, Sha256
from pypid.core.simple_api.parse import moment_of, secure

Usual = tuple[str | None, ...]
"""The groups of `_LINK`."""

ESCAPED = r"[^\"<>&]*+(?:&(?:amp|lt|gt|quot|\#39|\#x27);[^\"<>&]*+)*+"
"""The value of an attribute with common escapes only: `unescape` decodes it exactly like an HTML
parser.
"""
LINE_END = r"\s*+>[^<>&]*+</a>[^<>&]*+(?:</?(?:br|li|td|tr)\s*+/?>[^<>&]*+)*+"
"""The rest of a link, and what indexes write between two of them."""
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
    rf'\s*+<a\s++href="([A-Za-z0-9._~!+,=:/-]{{1,{LONGEST_TEXT}}}+)\#sha256=([0-9a-f]{{64}})"'
    rf"(?:\s++(?:{_ONCE}))*+{LINE_END}",
    re.ASCII,
).match


def usual_links(text: str, position: int, links: list[Usual]) -> int:
    """Append the consecutive links at `position`; return the position after them."""
    while (found := _LINK(text, position)) is not None:
        links.append(found.groups())
        position = found.end()
    return position


def entry_of_usual(link: Usual) -> GivenEntry:
    """Return the link as an entry of the JSON API."""
    url, sha256, requires, time, yanked, size, offer, older_offer, provenance, *_ = link
    assert url is not None and sha256 is not None
    offer = offer or older_offer
    return GivenEntry(
        url.rpartition("/")[2],
        url,
        Sha256(sha256),
        UNSET if size is None else int(size),
        UNSET if time is None else moment_of(time),
        requires and plain(requires),
        UNSET if offer is None else offer == "true" or Sha256(offer[7:]),
        yanked is not None and (plain(yanked) if yanked.strip() else True),
        provenance=provenance and secure(plain(provenance)),
    )


@lru_cache(maxsize=1024)
def plain(text: str) -> str:
    """Return the text without escapes; cached, since most are a few values of
    ``data-requires-python``.
    """
    return unescape(text)
