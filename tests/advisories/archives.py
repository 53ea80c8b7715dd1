"""Advisories and zip archives of them, as sources have them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile


def record(id: str, name: str = "foo", *events: str, **fields: Any) -> bytes:
    """Return a record; `events`: pairs such as ``introduced=0``, else all versions."""
    pairs = [event.split("=") for event in events or ("introduced=0",)]
    ranges = [{"type": "ECOSYSTEM", "events": [{event: version} for event, version in pairs]}]
    affected = {"package": {"ecosystem": "PyPI", "name": name}, "ranges": ranges}
    return json.dumps({"id": id, "affected": [affected], **fields}).encode()


def archive(members: Mapping[str, bytes]) -> io.BytesIO:
    """Return a zip archive with these members."""
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    file.seek(0)
    return file


def archive_of(*records: bytes) -> io.BytesIO:
    """Return a zip archive with these records."""
    return archive({f"{number}.json": data for number, data in enumerate(records)})
