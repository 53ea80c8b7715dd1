"""The wiring of named indexes and of promotions between them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from pypid.core.configuration.parse import Config
from pypid.core.errors import StorageDown
from pypid.core.indexes import DEFAULT
from pypid.flow.periodic import Periodic
from pypid.index import Index
from pypid.index.all_indexes import AllIndexes, NamedUpstream
from pypid.index.decisions import Decisions
from pypid.index.named_indexes import NamedIndexes
from pypid.index.promotion_checks import IndexPart
from pypid.index.promotion_log import PromotionLog
from pypid.index.promotions import PromotionRecovery, Promotions
from pypid.ports import Blobs, Duplicating, NamedGlance
from pypid.wiring.storage import OpenedStorage


def all_indexes_of(
    config: Config, storage: OpenedStorage, catalog: NamedGlance, *, others_write: bool
) -> AllIndexes:
    """Return all indexes by name, before the default one is made. `others_write`: other processes
    may publish.
    """
    only = {name: each.only for name, each in config.upstreams.items()}
    return AllIndexes(storage.blobs, catalog, only, others_write)


def named_indexes_of(
    config: Config,
    indexes: AllIndexes,
    default: Index,
    upstreams: Mapping[str, NamedUpstream],
    decisions: Decisions,
) -> NamedIndexes:
    """Return the named indexes, which have the default one among their bases, together with the
    named upstreams.
    """
    indexes.join(default, upstreams)
    return NamedIndexes(indexes, config.indexes, decisions)


RECOVER = 30.0
"""Seconds between two checks for interrupted promotions."""


def promotions_between(
    indexes: NamedIndexes,
    blobs: Blobs,
    duplicating: Duplicating,
    recovery: PromotionRecovery,
) -> Promotions:
    """Return the promotions between the indexes of `blobs`, which `recovery` follows."""
    default = indexes.default

    def part_of(name: str) -> IndexPart | None:
        if name == DEFAULT:
            return IndexPart(name, default.context)
        index = indexes.get(name)
        if index is None:
            return None
        mark = partial(indexes.names.mark, index=name)
        return IndexPart(name, index.context, index.prefix, make_private=mark)

    log = PromotionLog(blobs, default.world, part_of, default.context.shared)
    recovery.follow(log, indexes.read)
    return Promotions(log, duplicating)


def recovery_of(promotions: Promotions) -> Periodic:
    """Return the service that finishes or undoes interrupted promotions."""
    log = promotions.log

    async def recover() -> None:
        with suppress(StorageDown):  # the log tells of the storage already
            await log.recover()

    return Periodic(log.world.clock, RECOVER, recover, "finishing interrupted promotions")
