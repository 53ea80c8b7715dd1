"""A link as nearly all indexes write it, understood at once: a page has ten thousand, and most
pages are nothing else.

Only what is written just so is taken here: the URL is absolute and clean, the hash is a sha256,
each attribute is there once and has double quotes and the usual escapes. Of anything else nothing
is said: `core.simple_api.parse_html` reads it with care, and gives the same file for the same link.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import unescape

from pypid.core.model import File
from pypid.core.packaging.listed_names import version_of
from pypid.core.packaging.names import LONGEST_FILENAME, ProjectName
from pypid.core.simple_api.parse import LONGEST_TEXT, moment_of, secure, specifier_of, yanked_of

Usual = tuple[str | None, ...]
"""What the groups of `_LINK` found."""

ESCAPED = r"[^\"<>&]*+(?:&(?:amp|lt|gt|quot|\#39|\#x27);[^\"<>&]*+)*+"
"""The value of an attribute, if its escapes are those that all know: `unescape` makes of it what
any reader of HTML does.
"""
LINE_END = r"\s*+>[^<>&]*+</a>\s*+(<br\s*+/?>)?"
"""The rest of a link, and what stands behind it in most pages."""
_URL = r"https?://[A-Za-z0-9.-]{1,253}(?::[1-9][0-9]{0,3})?+(?:/[A-Za-z0-9_~!+,=-][A-Za-z0-9._~!+,=-]*+)++"
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
# (?(3)(?!)): the third group has found something already, so this would be the second time
_ONCE = "|".join(
    rf'{name}="(?({group})(?!))({value})"' for group, (name, value) in enumerate(_VALUES, 3)
)
_LINK = re.compile(
    rf'\s*+<a\s++href="({_URL})\#sha256=([0-9a-f]{{64}})"(?:\s++(?:{_ONCE}))*+{LINE_END}', re.ASCII
).match


def usual_links(text: str, position: int, links: list[Usual]) -> int:
    """Append the links that stand at `position`, one behind the other; where the next thing stands
    that is none of them.
    """
    while (found := _LINK(text, position)) is not None:
        links.append(found.groups())
        position = found.end()
    return position


def file_of_usual(link: Usual, name: ProjectName) -> File | None:
    """The file of a link, or None where it cannot be used: as `listing.file_of` has it."""
    url, sha256, requires, uploaded, yanked, size, metadata, older_metadata, provenance, *_ = link
    assert url is not None
    filename = url.rpartition("/")[2]
    if len(filename) > LONGEST_FILENAME or len(url) > LONGEST_TEXT:
        return None
    version = version_of(filename, name)
    if version is None:
        return None
    metadata = metadata or older_metadata
    return File(
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


@lru_cache(maxsize=1024)
def _specifier(said: str) -> str | None:
    """A page has few of them, each many times."""
    return specifier_of(unescape(said))


def said_by(link: Usual) -> dict[str, str | None]:
    """The attributes of the link as a parser of HTML gives them."""
    said: dict[str, str | None] = {"href": f"{link[0]}#sha256={link[1]}"}
    for (name, _), value in zip(_VALUES, link[2:-1], strict=True):
        if value is not None:
            said[name] = unescape(value)
    return said
