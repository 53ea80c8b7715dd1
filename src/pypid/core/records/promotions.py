"""The documents of promotions: releases that one index lists from another one.

::

    .pypid/promotions/open/<id>.json    written before anything else; removed when the promotion is
                                        done
    .pypid/promotions/<id>.json         written only if absent: the decision. It commits the
                                        promotion, or gives it up

Between the two, the bytes get their keys in the target; no record names them yet. A promotion that
is open and committed is rolled forward by any process, one that is open and not committed belongs
to a process that works on it or has died.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum

import msgspec

from pypid.core.errors import BadName, Unreadable
from pypid.core.model import StoredFile
from pypid.core.packaging.names import project_name
from pypid.core.records.documents import FORMAT, RecordedFile, load, stored, stored_file
from pypid.core.records.layout import OURS_AS_A_WHOLE

PROMOTIONS = f"{OURS_AS_A_WHOLE}promotions/"
OPEN_PROMOTIONS = f"{PROMOTIONS}open/"
LARGEST = 32 << 20
"""Largest document in bytes."""
MOST_FILES = 20_000
"""Largest number of files of one promotion."""
FIRST_YEAR = 2026
"""The year of the first promotion of any pypid."""
_ID = re.compile(r"[0-9]{8}t[0-9]{6}-[0-9a-f]{16}\Z")
_SUFFIX = ".json"


class PromotionState(Enum):
    """The decision about a promotion."""

    COMMITTED = "committed"
    GIVEN_UP = "given-up"
    """Its process died, or was refused, before the commit: the files are not listed."""


class PromotedFile(msgspec.Struct, frozen=True, omit_defaults=True, rename="kebab"):
    """One file: its project, its record in the target index, and where its bytes were."""

    project: str
    file: RecordedFile
    source: str
    """The key of the bytes in the whole storage."""


class PromotionDocument(msgspec.Struct, frozen=True, omit_defaults=True, rename="kebab"):
    """A promotion. `source` and `target` are names of indexes."""

    id: str
    source: str
    target: str
    created: datetime
    by: str
    files: tuple[PromotedFile, ...]
    state: PromotionState = PromotionState.COMMITTED
    format: int = FORMAT


def promotion_id(now: datetime, chance: bytes) -> str:
    """Return a new id; ids are in the order of their times."""
    return f"{now.astimezone(UTC):%Y%m%dt%H%M%S}-{chance[:8].hex()}"


def promotion_key(id: str) -> str:
    """Return the key of the decision about the promotion."""
    return f"{PROMOTIONS}{id}{_SUFFIX}"


def open_promotion_key(id: str) -> str:
    """Return the key of the document that exists while the promotion is under way."""
    return f"{OPEN_PROMOTIONS}{id}{_SUFFIX}"


def id_of_key(where: str) -> str | None:
    """Return the id of the promotion whose document has this key, open or decided; None for any
    other key.
    """
    id = where.removeprefix(OPEN_PROMOTIONS).removeprefix(PROMOTIONS).removesuffix(_SUFFIX)
    return id if _ID.match(id) and where in (promotion_key(id), open_promotion_key(id)) else None


def load_promotion(data: bytes, what: str) -> PromotionDocument:
    """Return the document in `data`. Raises `Unreadable`."""
    return load(PromotionDocument, data, what)


def promoted(file: StoredFile, source: str) -> PromotedFile:
    """Return `file`, as the target index records it; `source` is the key of its bytes."""
    return PromotedFile(file.project, stored(file, changing=False), source)


def files_of(document: PromotionDocument) -> Sequence[StoredFile]:
    """Return the files as the target index records them. Raises `Unreadable`."""
    try:
        return [stored_file(project_name(each.project), each.file) for each in document.files]
    except (BadName, ValueError) as error:
        raise Unreadable(f"the promotion {document.id}", str(error)) from None
