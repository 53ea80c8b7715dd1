"""A further upstream of an index, for tests."""

from __future__ import annotations

from attrs import evolve

from pypid.core.restrictions import RestrictionsInForce
from pypid.index import Index
from pypid.index.decisions import Decisions
from pypid.index.named_indexes import Indexes, NamedUpstream
from pypid.ports import Upstream


def with_upstream(index: Index, name: str, upstream: Upstream, *only: str) -> Index:
    """Return the index of a new `[upstream:NAME]` of `index`, in its own part of the storage and of
    the catalog.
    """
    policy = evolve(index.context.policy, only=only or ("*",))
    settings = NamedUpstream(upstream, policy, index.source.ttl, index.source.timeout)
    decisions = Decisions(index.context.blobs, index.context.world, RestrictionsInForce())
    indexes = Indexes(index.catalog, decisions, only={name: only})
    indexes.join(index, {name: settings})
    index.upstreams[name] = indexes.upstreams[name]  # type: ignore[index]
    return index.upstreams[name]
