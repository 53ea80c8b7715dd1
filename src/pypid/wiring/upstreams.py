"""Opening the configured upstream indexes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from twisted.logger import Logger

from pypid.advisories.service import Advisories
from pypid.attestations.verification import Attesting
from pypid.core.configuration.choices import Mode, StorageBackend
from pypid.core.configuration.keys import PUBLIC_INDEX, UPSTREAM, UpstreamSettings
from pypid.core.configuration.parse import Config, settings_of
from pypid.core.configuration.values import without_userinfo
from pypid.core.errors import CannotStart
from pypid.core.installation import install_hint
from pypid.core.model import Listing, Span
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Claims, Policy
from pypid.core.trust import Ratchet, TrustDocument, TrustRules
from pypid.daemon.state import StatePaths
from pypid.database.logs import SqlDownloads
from pypid.flow import World
from pypid.flow.coroutines import import_late
from pypid.flow.derived import Provider
from pypid.index import Index
from pypid.index.decisions import Decisions
from pypid.index.named_indexes import NamedUpstream
from pypid.index.trust import PublisherTrust
from pypid.jobs.cache_maintenance import CacheMaintenance
from pypid.jobs.leases import Leases
from pypid.ports import Body, Upstream
from pypid.upstream.nothing import Nothing

if TYPE_CHECKING:
    from pypid.jobs.cooldown_fixes import CooldownFixes

_log = Logger()

_IMPORTS = ("pypid.upstream.indexes", "pypid.http_client.connections", "twisted.web.client")
"""Modules that the first request to an upstream index needs."""


@frozen
class OpenedUpstream:
    """An upstream, and the function that closes its connections. `prepare` imports what
    the first request needs.
    """

    upstream: Upstream
    close: Callable[[], Awaitable[object]]
    prepare: Callable[[], Awaitable[object]] | None = None


def open_upstream(
    wanted: UpstreamSettings,
    paths: StatePaths,
    world: World,
    reactor: Any,
    identity: str,
    section: str = "upstream",
) -> OpenedUpstream:
    """Return the upstream of a section with connections of its own, so that no other upstream
    receives its credentials. Offline, return an upstream without projects. `identity` is this
    pypid's (`core.simple_api.via`). Raises `CannotStart`; blocks.
    """
    if wanted.mode is Mode.OFFLINE:
        return OpenedUpstream(Nothing(), _nothing_to_close)
    authorities = authorities_of(authorities_path(wanted, paths), section)

    def make() -> OpenedUpstream:
        from pypid.http_client.connections import Trust
        from pypid.upstream import indexes

        settings = indexes.UpstreamSourceSettings(
            wanted.url or (PUBLIC_INDEX,),
            wanted.timeout.total_seconds(),
            wanted.file_hosts,
            section,
        )
        connections = indexes.connected(reactor, Trust(authorities), settings)
        upstream = indexes.open(settings, world, identity, connections)
        return OpenedUpstream(upstream, connections.close)

    prepare = partial(world.blocking, import_late, *_IMPORTS)
    upstream = LateUpstream(Provider(make), prepare)
    return OpenedUpstream(upstream, upstream.close, prepare)


@frozen
class NamedUpstreams:
    """The settings and clients of each `[upstream:NAME]`, by name, and the functions that close
    their connections.
    """

    settings: Mapping[str, NamedUpstream]
    closes: Sequence[Callable[[], Awaitable[object]]]


def open_named_upstreams(
    config: Config, paths: StatePaths, world: World, reactor: Any, identity: str, policy: Policy
) -> NamedUpstreams:
    """Return the named upstreams, each with connections of its own. `policy`: that of
    `[upstream]`. Raises `CannotStart`; blocks.
    """
    opened: list[OpenedUpstream] = []
    settings: dict[str, NamedUpstream] = {}
    for name, each in config.upstreams.items():
        wanted = settings_of(config.upstream, each)
        opened.append(open_upstream(wanted, paths, world, reactor, identity, f"{UPSTREAM}{name}"))
        its_policy = evolve(
            policy_of(wanted, policy.claims), only=each.only, restrictions=policy.restrictions
        )
        upstream = opened[-1].upstream
        settings[name] = NamedUpstream(upstream, its_policy, wanted.ttl, wanted.timeout)
    return NamedUpstreams(settings, tuple(each.close for each in opened))


def policy_of(
    upstream: UpstreamSettings, claims: Claims, elsewhere: tuple[str, ...] = ()
) -> Policy:
    """Return the policy for upstream projects. `claims`: the names that are local by a rule;
    `elsewhere`: the names that only another upstream may be asked for.
    """
    return Policy(
        mode=upstream.mode,
        reserved=upstream.reserved,
        allow=upstream.allow,
        deny=upstream.deny,
        allow_mixed=upstream.allow_mixed,
        elsewhere=elsewhere,
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
    config: Config,
    index: Index,
    closes: Sequence[Callable[[], Awaitable[object]]],
    leases: Leases,
    is_asked: Callable[[str, ProjectName], bool],
) -> CacheMaintenance:
    """Return the jobs for cached files; they end with `closes`. `is_asked`: whether any index
    asks an upstream for a project.
    """

    async def close() -> None:
        for each in closes:
            await each()

    # a bucket is compared again and again anyway
    compares = index.context.shared and config.storage.backend is not StorageBackend.S3
    return CacheMaintenance(
        index,
        close,
        leases=leases,
        refresh=config.upstream.refresh if config.upstream.mode is Mode.MIRROR else None,
        max_cache=config.upstream.max_cache,
        compares=compares,
        is_asked=is_asked,
    )


def cooldown_fixes_of(
    config: Config, index: Index, advisories: Advisories, downloads: SqlDownloads
) -> tuple[CooldownFixes, ...]:
    """Return the search for versions that fix vulnerabilities, if the configuration wants it."""
    if not (config.upstream.cooldown_fixes and advisories.is_configured):
        return ()
    from pypid.jobs.cooldown_fixes import CooldownFixes  # here, since few configurations need it

    return (CooldownFixes(index, advisories, downloads),)


def indexes_of(config: Config) -> tuple[str, ...]:
    """Return the URLs of the configured indexes for display, without user names and passwords."""
    return tuple(without_userinfo(url) for url in config.upstream.url or (PUBLIC_INDEX,))


def urls_shown(config: Config) -> Mapping[str, tuple[str, ...]]:
    """Return the URLs of each `[upstream:NAME]` for display."""
    return {name: tuple(map(without_userinfo, each.url)) for name, each in config.upstreams.items()}


def exclusive_names(config: Config) -> tuple[str, ...]:
    """Return the names and globs that `[upstream]` is never asked for."""
    return tuple(
        pattern for each in config.upstreams.values() if each.exclusive for pattern in each.only
    )


def sections_of(config: Config) -> Mapping[str, UpstreamSettings]:
    """Return the settings of all upstreams by the names of their sections."""
    named = {
        UPSTREAM + name: settings_of(config.upstream, each)
        for name, each in config.upstreams.items()
    }
    return {"upstream": config.upstream, **named}


def authorities_path(upstream: UpstreamSettings, paths: StatePaths) -> Path | None:
    """Return the file of `ca_certificates`, if there is one."""
    file = paths.beside_ini(upstream.ca_certificates)
    return None if file is None else Path(file)


def authorities_of(file: Path | None, section: str = "upstream") -> Any:
    """Return the certificates of `ca_certificates` in the section. Blocks. Raises `CannotStart`."""
    if file is None:
        return ()
    from pypid.http_client.connections import certificates

    setting = f"[{section}] ca_certificates"
    try:
        return certificates(file.read_bytes(), setting)
    except OSError as error:
        raise CannotStart(f"{setting} cannot be read: {file}: {error.strerror}.") from None


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


async def _nothing_to_close() -> None:
    """Do nothing: there are no connections."""
