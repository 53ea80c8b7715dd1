"""What the objects of a storage are for a backup: documents that may change, package files, and
promotions that are not complete.

A backup copies one project after the other. It may copy some projects of a promotion before the
commit, and others after it. So the backup ends with each promotion that was not complete when the
backup began:

* its files in the target index, since that may have been copied before they were there;
* the decision, if there is one;
* the open document, also if it was removed meanwhile.

The first start after a restore reads the open document before it reads any records. It finishes the
promotion if the decision is to commit it. Else the backup has none of its records, because they are
written after the decision, and the promotion is given up. So clients see all of it or nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress

from attrs import evolve, field, frozen

from pypid.core.errors import Unreadable
from pypid.core.indexes import DEFAULT
from pypid.core.model import Blob, StoredFile
from pypid.core.records.layout import (
    DESCRIBED,
    HELD,
    INDEXES,
    KEPT,
    OURS_AS_A_WHOLE,
    SET_ASIDE,
    ObjectKind,
)
from pypid.core.records.promotions import LARGEST as LARGEST_PROMOTION
from pypid.core.records.promotions import (
    OPEN_PROMOTIONS,
    PROMOTIONS,
    PromotionState,
    files_of,
    id_of_key,
    load_promotion,
    open_promotion_key,
    promotion_key,
)
from pypid.flow import World
from pypid.index.store import records
from pypid.jobs.backup.backup_file import FORMAT, FORMAT_WITHOUT_LINKS
from pypid.ports import Blobs

LARGEST = 1 << 20
"""Bytes of the largest object that is read into memory."""
RECORD = ObjectKind.RECORD.value
CHANGING = (
    RECORD,
    ObjectKind.YANKED.value,
    ObjectKind.DELETED.value,
    ObjectKind.HISTORY.value,
    f"/{ObjectKind.PROJECT.value}",
    DESCRIBED,
)
BYTES_ONLY = (HELD, SET_ASIDE)
"""Prefixes of package files, not documents, among the objects of the storage as a whole."""
SIDECAR_KINDS = (ObjectKind.METADATA, ObjectKind.SIGNATURE, ObjectKind.PROVENANCE)
SIDECARS = tuple(kind.value for kind in SIDECAR_KINDS)


def group_of(where: str) -> str:
    """Return the prefix that the objects of one project share; for others that of their folder."""
    first, slash, rest = where.partition("/")
    if f"{first}/" == KEPT:
        return f"{KEPT}{rest.partition('/')[0]}/"
    return first + slash


def is_changing_document(blob: Blob) -> bool:
    """Return whether it is a small object that may change."""
    if blob.size > LARGEST or blob.key.startswith(BYTES_ONLY):
        return False
    return blob.key.startswith(OURS_AS_A_WHOLE) or blob.key.endswith(CHANGING)


async def format_of(blobs: Blobs, *, files: bool) -> int:
    """Return the format of a backup of this storage."""
    if files:
        async with aclosing(blobs.list(INDEXES)) as listing:
            async for _ in listing:
                return FORMAT
    return FORMAT_WITHOUT_LINKS


async def complete_promotions(blobs: Blobs) -> frozenset[str]:
    """Return the ids of promotions that are complete: decided, and not open any more."""
    # The open ones are listed last: one that is decided by now and not open then is complete.
    decided = {id for id, key in await _listed(blobs, PROMOTIONS) if key == promotion_key(id)}
    return frozenset(decided - {id for id, _ in await _listed(blobs, OPEN_PROMOTIONS)})


@frozen
class PromotionInBackup:
    """A promotion that was not complete when the backup began: its documents by key; and if it is
    committed, its files in the target, whose keys follow the `prefix`.
    """

    documents: Mapping[str, bytes] = field(repr=False)
    prefix: str = ""
    files: Sequence[StoredFile] = field(default=(), repr=False)


async def other_promotions(
    blobs: Blobs, world: World, complete: frozenset[str]
) -> AsyncGenerator[PromotionInBackup]:
    """Yield the promotions that are not among the `complete` ones."""
    for id in sorted({id for id, _ in await _listed(blobs, PROMOTIONS)} - complete):
        opened = await records.read_bytes(blobs, open_promotion_key(id), LARGEST_PROMOTION)
        decided = await records.read_bytes(blobs, promotion_key(id), LARGEST_PROMOTION)
        documents = {promotion_key(id): decided, open_promotion_key(id): opened or decided}
        found = PromotionInBackup({key: data for key, data in documents.items() if data})
        if decided is not None:
            with suppress(Unreadable):
                document = await world.blocking(load_promotion, decided, id)
                if document.state is PromotionState.COMMITTED:
                    prefix = "" if document.target == DEFAULT else f"{INDEXES}{document.target}/"
                    found = evolve(found, prefix=prefix, files=files_of(document))
        yield found


async def _listed(blobs: Blobs, prefix: str) -> list[tuple[str, str]]:
    """Return the ids and keys of the documents of promotions."""
    async with aclosing(blobs.list(prefix)) as listing:
        return [(id, blob.key) async for blob in listing if (id := id_of_key(blob.key))]
