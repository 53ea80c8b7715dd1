"""Which core metadata of an upstream file a page offers: never more than can be served (PEP 658,
714).

An installer that was promised metadata and gets a 404 stops (pip) or starts again (uv).
"""

from __future__ import annotations

from attrs import evolve
from msgspec.structs import replace

from pypid.core.model import F, StoredFile, UpstreamEntry
from pypid.core.simple_api.packing import packed


def offering(listed: F, kept: StoredFile | None, *, reachable: bool) -> F:
    """Return `listed`, with the metadata that can be served now.

    `kept` is the cached copy of the file, if there is one; `reachable`: upstream can be asked. A
    known hash is included; ``metadata_offered`` alone becomes a mere ``true`` on the page.
    """
    if kept is not None and kept.metadata_sha256 is not None:
        return replace(listed, metadata_sha256=kept.metadata_sha256)
    if not reachable:
        return replace(listed, metadata_sha256=None, metadata_offered=False)
    return listed


def with_metadata(entry: UpstreamEntry, filename: str, sha256: str) -> UpstreamEntry:
    """Return `entry` with the hash of a file's metadata (read from the file, or offered by upstream
    without a hash).

    It is not remembered for a listed file without SHA-256, whose bytes may change unnoticed.
    """
    kept = tuple(
        replace(file, metadata_sha256=sha256) if file.filename == filename else file
        for file in entry.kept
    )
    listing = entry.listing
    if listing is not None and listing.files is not None:
        files = packed(listing.files)
        file = files.named(filename)
        if file is not None and file.metadata_sha256 is None and file.sha256 is not None:
            files = evolve(files, learnt={**files.learnt, filename: sha256})
            listing = evolve(listing, files=files)
    return evolve(entry, listing=listing, kept=kept)
