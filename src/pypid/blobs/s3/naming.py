"""What is said of a key to whoever downloads it straight from the store: its type and its file
name.
"""

from __future__ import annotations

import re
from urllib.parse import quote

BYTES = "application/octet-stream"
"""For wheels, zips and tarballs alike; nothing that makes a client unpack what it is going to hash
(see `web.http.headers`).
"""
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
_NOT_PLAIN = re.compile(r"[^ -~]|[\"\\%]")
_TEXTS = (".metadata", ".asc")
_OVERWRITE = re.compile(r"\.at-[0-9a-f]{16}(?=\Z|\.)")
"""What `core.records.layout` puts behind the name of a file whose bytes were replaced: nobody else
knows it by that.
"""


def content_type(key: str) -> str:
    """As pypid itself says it."""
    if key.endswith(".json"):
        return JSON
    return TEXT if key.endswith(_TEXTS) else BYTES


def file_name(key: str) -> str:
    """The name that a downloaded file has."""
    return _OVERWRITE.sub("", key.rpartition("/")[2])


def disposition(name: str) -> str:
    """``Content-Disposition`` (RFC 6266): save it, under this name. pip takes a file's name from
    there, if it is there.
    """
    plain = _NOT_PLAIN.sub("_", name)
    if plain == name:
        return f'attachment; filename="{name}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
