"""The type and file name that the store sends to clients that download a key directly."""

from __future__ import annotations

import re
from urllib.parse import quote

BYTES = "application/octet-stream"
"""For wheels, zips and tarballs alike: no client may unpack what it is going to hash (see
`web.http.headers`).
"""
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
_NOT_PLAIN = re.compile(r"[^ -~]|[\"\\%]")
_TEXTS = (".metadata", ".asc")
_OVERWRITE = re.compile(r"\.at-[0-9a-f]{16}(?=\Z|\.)")
"""The suffix that `core.records.layout` appends to the name of an overwritten file: internal,
unknown to clients.
"""


def content_type(key: str) -> str:
    """Return the Content-Type, the same that pypid itself sends."""
    if key.endswith(".json"):
        return JSON
    return TEXT if key.endswith(_TEXTS) else BYTES


def file_name(key: str) -> str:
    """Return the name under which a client saves the file."""
    return _OVERWRITE.sub("", key.rpartition("/")[2])


def disposition(name: str) -> str:
    """Return the ``Content-Disposition`` (RFC 6266) to save the file under this name. pip takes a
    file's name from it, if it is there.
    """
    plain = _NOT_PLAIN.sub("_", name)
    if plain == name:
        return f'attachment; filename="{name}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
