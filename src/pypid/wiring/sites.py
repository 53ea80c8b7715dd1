"""The wiring of HTTP: the site for clients, the site of the control socket, the certificate."""

from __future__ import annotations

from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit

from pypid.core.configuration.parse import Config
from pypid.daemon.state import StatePaths
from pypid.daemon.tls import Certificate
from pypid.ports import Glance
from pypid.web.fastpath.fast_path import open_fast_path
from pypid.web.fastpath.state import LIMIT
from pypid.web.http.access_log import AccessLog
from pypid.web.http.channel.start_check import check_framing
from pypid.web.http.connections import ConnectionSettings
from pypid.web.http.proxies import HostPolicy, TrustedProxies, loopback_ports, machine_names
from pypid.web.http.request_ids import Ids
from pypid.web.http.site import Site
from pypid.web.root import resource
from pypid.wiring.apps import Apps
from pypid.wiring.platform import Platform


def make_sites(
    config: Config, apps: Apps, catalog: Glance, platform: Platform
) -> tuple[Site, Site]:
    """Return the public site, and the one behind the control socket. `catalog`: what is known
    without waiting.
    """
    server, world = config.server, platform.world
    ids = Ids.drawn(world.random)
    access_log = (
        AccessLog(world.now, platform.reactor.seconds, ids=ids) if config.log.access else None
    )
    check_framing()
    # without the fast path all requests go through the routes
    fast_path = (
        open_fast_path(
            apps.public,
            catalog,
            access_log,
            platform.reactor,
            wanted=server.fast_path,
            limit=responses_limit(config),
        )
        if platform.serves_clients
        else None
    )
    public = Site(
        resource(apps.public),
        reactor=platform.reactor,
        trusted_proxies=TrustedProxies(server.trusted_proxies),
        access_log=access_log,
        fast_path=fast_path,
        ids=ids,
        public_url=server.public_url,
        limits=_limits(config),
        hosts=_hosts(config),
        cors=server.cors,
        hsts=server.hsts,
        counts=world.counts if platform.serves_clients else None,
    )
    return public, Site(resource(apps.operator), reactor=platform.reactor, ids=ids)


def responses_limit(config: Config) -> int:
    """Return how many bytes of `[upstream] memory` are for the responses of the fast path."""
    return min(LIMIT, config.upstream.memory // 4)


def _limits(config: Config) -> ConnectionSettings:
    server, descriptors = config.server, getrlimit(RLIMIT_NOFILE)[0]
    return ConnectionSettings(
        header_timeout=server.header_timeout.total_seconds(),
        min_body_rate=server.min_body_rate,
        per_client=server.max_connections_per_client,
        descriptors=0 if descriptors == RLIM_INFINITY else descriptors,
    )


def _hosts(config: Config) -> HostPolicy:
    server = config.server
    return HostPolicy(
        allowed=server.allowed_hosts,
        public_url=server.public_url,
        machine_names=machine_names(),
        loopback_ports=loopback_ports(server.listen),
    )


def certificate_of(config: Config, paths: StatePaths) -> Certificate | None:
    """Return the certificate for clients, if one is configured. Raises `CannotStart`."""
    if paths.certificate is None or paths.key is None:
        return None
    return Certificate(paths.certificate, paths.key, config.server.tls_minimum.value)
