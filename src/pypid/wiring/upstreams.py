"""Opening the configured upstream indexes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from twisted.logger import Logger

from pypid.advisories.service import Advisories
from pypid.attestations.verification import Attesting
from pypid.core.configuration.choices import Mode, StorageBackend
from pypid.core.configuration.keys import PUBLIC_INDEX
from pypid.core.configuration.parse import Config
from pypid.core.configuration.value_kinds import without_userinfo
from pypid.core.errors import CannotStart
from pypid.core.installation import install_hint
from pypid.core.model import Listing, Span
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Claims, Policy
from pypid.core.publisher_rules import Ratchet, TrustRules
from pypid.core.trust import TrustDocument
from pypid.daemon.state import StatePaths
from pypid.flow import World
from pypid.flow.imports import import_late
from pypid.flow.signals import Provider
from pypid.index import Index
from pypid.index.decisions import Decisions
from pypid.index.trust import PublisherTrust
from pypid.jobs.cache_maintenance import CacheMaintenance
from pypid.jobs.leases import Leases
from pypid.ports import Body, Downloads, Upstream
from pypid.upstream.nothing import Nothing

if TYPE_CHECKING:
    from pypid.jobs.cooldown_fixes import CooldownFixes

_log = Logger()

_IMPORTS = ("pypid.upstream.indexes", "pypid.http_client.trust", "twisted.web.client")
"""Modules that the first request to an upstream index needs."""


@frozen
class OpenedUpstream:
    """The upstream indexes, and the function that closes their connections. `prepare` imports what
    the first request needs.
    """

    upstream: Upstream
    close: Callable[[], Awaitable[object]]
    prepare: Callable[[], Awaitable[object]] | None = None


def open_upstreams(
    config: Config, paths: StatePaths, world: World, reactor: Any, identity: str
) -> OpenedUpstream:
    """Return the upstream indexes; none, if pypid is offline. `identity` is this index's
    (`core.simple_api.via`). Raises `CannotStart`; blocks.
    """
    wanted = config.upstream
    if wanted.mode is Mode.OFFLINE:
        return OpenedUpstream(Nothing(), _nothing_to_close)
    authorities = authorities_of(paths.authorities)

    def make() -> OpenedUpstream:
        from pypid.http_client.trust import Trust
        from pypid.upstream import indexes

        urls = wanted.url or (PUBLIC_INDEX,)
        settings = indexes.UpstreamSourceSettings(
            urls, wanted.timeout.total_seconds(), wanted.file_hosts
        )
        connections = indexes.connected(reactor, Trust(authorities), settings)
        upstream = indexes.open(settings, world, identity, connections)
        return OpenedUpstream(upstream, connections.close)

    prepare = partial(world.blocking, import_late, *_IMPORTS)
    upstream = LateUpstream(Provider(make), prepare)
    return OpenedUpstream(upstream, upstream.close, prepare)


def policy_of(config: Config, claims: Claims) -> Policy:
    """Return the policy for upstream projects. `claims`: the names that are local by a rule."""
    upstream = config.upstream
    return Policy(
        mode=upstream.mode,
        reserved=upstream.reserved,
        allow=upstream.allow,
        deny=upstream.deny,
        allow_mixed=upstream.allow_mixed,
        cooldown=evolve(upstream.cooldown, fixes=upstream.cooldown_fixes),
        require_hashes=upstream.require_hashes,
        new_projects=upstream.new_projects,
        restored=upstream.restored,
        claims=claims,
    )


def trust_of(
    config: Config, paths: StatePaths, policy: Policy, decisions: Decisions, world: World
) -> PublisherTrust:
    """Return what judges the publishers of upstream files. Raises `CannotStart` if the trusted root
    is missing.
    """
    if paths.trust_root is not None and not paths.trust_root.is_file():
        raise CannotStart(f"[trust] trust_root: there is no file {paths.trust_root}.")
    is_enforced = config.trust.require or config.trust.ratchet is Ratchet.HOLD
    if is_enforced and find_spec("pypi_attestations") is None:
        _log.warn(
            "[trust] needs the verification of attestations: without it, attested files that a "
            "rule is about are held too. {hint}",
            hint=install_hint("attestations"),
        )
    rules = TrustRules(config.trust.require, config.trust.ratchet)
    verify = Attesting(paths.trust_root).verdicts
    folder = decisions.folder("trust", TrustDocument)
    return PublisherTrust(rules, verify, world, policy.restrictions, folder)


def maintenance_of(
    config: Config, index: Index, upstream: OpenedUpstream, leases: Leases
) -> CacheMaintenance:
    """Return the jobs for cached files."""
    # a bucket is compared again and again anyway
    compares = index.shared and config.storage.backend is not StorageBackend.S3
    return CacheMaintenance(
        index,
        upstream.close,
        leases=leases,
        refresh=config.upstream.refresh if config.upstream.mode is Mode.MIRROR else None,
        max_cache=config.upstream.max_cache,
        compares=compares,
    )


def cooldown_fixes_of(
    config: Config, index: Index, advisories: Advisories, downloads: Downloads
) -> tuple[CooldownFixes, ...]:
    """Return the search for versions that fix vulnerabilities, if the configuration wants it."""
    if not (config.upstream.cooldown_fixes and advisories.is_configured):
        return ()
    from pypid.jobs.cooldown_fixes import CooldownFixes  # here, since few configurations need it

    return (CooldownFixes(index, advisories, downloads),)


def indexes_of(config: Config) -> tuple[str, ...]:
    """Return the URLs of the configured indexes for display, without user names and passwords."""
    return tuple(without_userinfo(url) for url in config.upstream.url or (PUBLIC_INDEX,))


def authorities_of(file: Path | None) -> Any:
    """Return the certificates of `[upstream] ca_certificates`. Blocks. Raises `CannotStart`."""
    if file is None:
        return ()
    from pypid.http_client.trust import certificates
    from pypid.upstream.indexes import CERTIFICATES

    try:
        return certificates(file.read_bytes(), CERTIFICATES)
    except OSError as error:
        raise CannotStart(
            f"[upstream] ca_certificates cannot be read: {file}: {error.strerror}."
        ) from None


@frozen(eq=False)
class LateUpstream:
    """Upstream indexes that are opened at the first request: a start, and a page of a local
    project, do not need them.
    """

    _provider: Provider[OpenedUpstream]
    _prepare: Callable[[], Awaitable[object]]
    """Imports what the provider needs, off the reactor thread."""

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        """Return the upstream listing; see `Upstream.project`."""
        return await (await self._upstream()).project(name, known, via)

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """Return the upstream project names; see `Upstream.names`."""
        return await (await self._upstream()).names(via)

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        """Return the bytes of an upstream file; see `Upstream.fetch`."""
        return await (await self._upstream()).fetch(url, span, via, verified=verified)

    async def _upstream(self) -> Upstream:
        if self._provider.made is None:
            await self._prepare()
        return self._provider().upstream

    async def close(self) -> None:
        """Close the connections, if there are any."""
        if self._provider.made is not None:
            await self._provider.made.close()


_: type[Upstream] = LateUpstream


async def _nothing_to_close() -> None:
    """Do nothing: there are no connections."""
