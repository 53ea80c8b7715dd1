"""What is counted of changes: uploads by what became of them, all others by what they are."""

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
    """What came of the upload. Refused is what the rules of publishing refuse; what went wrong here
    has failed.
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
    """What it comes to, counted once it is done."""
    done = await changing
    counts.add(CHANGES, (operation,))
    return done
