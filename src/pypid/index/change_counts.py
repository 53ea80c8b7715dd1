"""Counters of changes: uploads by outcome, all other changes by operation."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from pypid.core.errors import CatalogDown, PypidError, StorageDown, StorageFull
from pypid.core.model import Upload
from pypid.index.local.publish import PublishOutcome
from pypid.metrics.counts import Counts
from pypid.metrics.families import CHANGES, PUBLISHED, PUBLISHED_BYTES

T = TypeVar("T")


async def publish_counted(
    counts: Counts, upload: Upload, publishing: Awaitable[PublishOutcome]
) -> PublishOutcome:
    """Await the upload and count its outcome. "refused" means rejected by the publishing rules;
    "failed" means an error on the server's side.
    """
    outcome = "failed"
    try:
        done = await publishing
        outcome = done.value
    except (StorageDown, StorageFull, CatalogDown):
        raise
    except PypidError:
        outcome = "refused"
        raise
    finally:
        counts.add(PUBLISHED, (outcome,))
    if done is not PublishOutcome.UNCHANGED:
        counts.add(PUBLISHED_BYTES, (), upload.digests.size)
    return done


async def change_counted(counts: Counts, operation: str, changing: Awaitable[T]) -> T:
    """Await the change, count it under `operation` once it succeeded, and return its result."""
    done = await changing
    counts.add(CHANGES, (operation,))
    return done
