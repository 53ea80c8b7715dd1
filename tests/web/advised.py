"""Gives an app in memory advisories, as a source would have brought them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pypid.advisories.database import (
    FILE,
    AdvisoryDatabase,
    ParsedRecord,
    encoded_summary,
    rank_of,
    writing,
)
from pypid.advisories.service import Advisories
from pypid.core.advisories import record_of, summaries_of
from pypid.core.compression import fragment
from tests.web.app_with_accounts import have
from tests.web.full_app import Pypid

Document = Mapping[str, Any]


def advisory(id: str, *affected: tuple[str, str, str | None], **more: Any) -> Document:
    """Return an OSV record. `affected`: names, each with the version that introduced it and the one
    that fixes it.
    """
    entries = []
    for name, introduced, fixed in affected:
        events = [{"introduced": introduced}, *([{"fixed": fixed}] if fixed else [])]
        entries.append(
            {
                "package": {"ecosystem": "PyPI", "name": name},
                "ranges": [{"type": "ECOSYSTEM", "events": events}],
            }
        )
    return {
        "schema_version": "1.7.0",
        "id": id,
        "modified": "2026-01-02T00:00:00Z",
        "published": "2026-01-01T00:00:00Z",
        "summary": f"Summary of {id}",
        "affected": entries,
        **more,
    }


def parsed(document: Document, *, private: bool) -> ParsedRecord:
    """Return the record for the database."""
    summaries = summaries_of(record_of(document), private=private)
    return ParsedRecord(
        document["id"],
        fragment(json.dumps(document).encode()),
        max((rank_of(summary) for summary in summaries.values()), default=0),
        [(name, encoded_summary(summary)) for name, summary in summaries.items()],
    )


def advise(
    pypid: Pypid, folder: Path, public: Iterable[Document], own: Iterable[Document] = ()
) -> Advisories:
    """Let the app have these advisories, those of `own` private; return them."""
    folder.mkdir(exist_ok=True)
    with AdvisoryDatabase(folder / FILE).replacing() as path, writing(path) as writer:
        writer.put([parsed(document, private=False) for document in public], private=False)
        writer.put([parsed(document, private=True) for document in own], private=True)
        writer.put_meta({"loaded": "2026-01-02T00:00:00Z", "generation": "1"})
    pypid.app.advisories = Advisories(pypid.world, folder)
    have(pypid.app.advisories.read())
    return pypid.app.advisories
