"""Kinds of values that only named indexes have."""

from __future__ import annotations

import re
from datetime import datetime

from pypid.core.configuration.value_kinds import ValueKind, end_of, time_text
from pypid.core.errors import BadRequest
from pypid.core.packaging.block_spec import BlockSpec, parse_block_spec

LONGEST_NAME = 40
"""Largest number of characters in the name of an index."""
_NAME = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{LONGEST_NAME - 1}}}")
_NO_NAMES = "none"


def is_plain_name(text: str) -> bool:
    """Return whether the text is spelled as the name of an index; it may be reserved."""
    return _NAME.fullmatch(text) is not None


def _names(text: str, thing: str) -> tuple[str, ...]:
    words = () if text == _NO_NAMES else tuple(text.split())
    for word in words:
        if word == _NO_NAMES:
            raise ValueError(f"{word!r} cannot be combined with other words")
        if words.count(word) > 1:
            raise ValueError(f"{word[:80]!r} is given twice")
        if not is_plain_name(word):
            raise ValueError(f"{word[:80]!r} is not the name of an {thing}")
    return words


INDEX_NAMES = ValueKind(
    lambda text: _names(text, "index"),
    lambda names: " ".join(names) or _NO_NAMES,
    "names of indexes (lower-case letters, digits and -), separated by whitespace; or none",
)
UPSTREAM_NAMES = ValueKind(
    lambda text: _names(text, "upstream"),
    lambda names: " ".join(names) or _NO_NAMES,
    "names of upstreams and public, separated by whitespace; or none",
)


def _blocks(text: str) -> tuple[BlockSpec, ...]:
    try:
        specs = tuple(parse_block_spec(word) for word in text.split())
    except BadRequest as error:
        raise ValueError(str(error).rstrip(".")) from None
    if any(spec.project is None for spec in specs):
        raise ValueError("the digest of a file cannot be blocked in one index")
    return specs


BLOCKS = ValueKind(
    _blocks,
    lambda specs: " ".join(spec.text for spec in specs),
    "projects and versions, like acme or acme>=1,<2, separated by whitespace",
)

MOMENT: ValueKind[datetime] = ValueKind(
    end_of, time_text, "a date (2026-08-01, in UTC: its end) or a time (2026-08-01T12:30:00Z)"
)
