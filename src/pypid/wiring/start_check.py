"""Checks of a configuration on this machine: what would stop a start, and what would fail later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from datetime import UTC, datetime, timedelta
from errno import EADDRINUSE
from functools import partial
from pathlib import Path
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOL_SOCKET, getaddrinfo, socket
from typing import Any

from attrs import frozen
from OpenSSL import crypto
from twisted.internet.protocol import Factory

from pypid.core.configuration.choices import AccessStore, StorageBackend, UrlCache
from pypid.core.configuration.doubts import AccountNames, configured_names, doubts, problem_at
from pypid.core.configuration.parse import Config, in_order
from pypid.core.configuration.values import endpoint_arguments
from pypid.core.errors import CannotStart, ConfigProblem
from pypid.daemon.control import ControlRefused, listens
from pypid.daemon.identities import accounts_place
from pypid.daemon.listeners import Certificate, cannot_listen, public
from pypid.daemon.shared_catalog import catalog_file, engine_of
from pypid.daemon.state import LONGEST_SOCKET_PATH, StatePaths, control_socket, where
from pypid.database.account_tables import read_names
from pypid.database.places import DatabaseAway, DatabaseUnusable
from pypid.flow import World
from pypid.wiring.advisories import advisory_findings
from pypid.wiring.findings import (
    ConfigFinding,
    ServiceUser,
    exists,
    file_problems,
    folder_problems,
    refusals,
)
from pypid.wiring.platform import Platform, load_with_problems
from pypid.wiring.recipe import directory_of
from pypid.wiring.storage import may_create_folder, redis_links, settings_of_bucket
from pypid.wiring.upstreams import authorities_of, authorities_path, sections_of

_FROM_SYSTEMD = "LISTEN_FDS"
SOON = timedelta(days=14)
"""A certificate that expires within this time is reported."""
_READABLE_BY_OTHERS = 0o007


def listen_findings(
    config: Config, user: ServiceUser, environ: Mapping[str, str], reactor: Any, *, runs: bool
) -> Iterator[ConfigFinding]:
    """Yield the findings about the endpoints. `runs`: a pypid with this configuration runs, which
    has them open. Blocks briefly.
    """
    for text in config.server.listen:
        kind, arguments = endpoint_arguments(text)
        if kind == "systemd" and _FROM_SYSTEMD not in environ:
            continue
        attempt = partial(public, reactor, text, Factory(), None)
        unusable = tuple(refusals("server", "listen", attempt))
        yield from unusable
        if unusable or runs:
            continue
        if kind == "unix":
            yield from _unix(Path(arguments["address"]).absolute().parent, user)
        elif kind != "systemd":
            yield from _tcp(text, arguments, is_ipv6=kind == "tcp6")


def _unix(folder: Path, user: ServiceUser) -> Iterator[ConfigFinding]:
    """Yield why the socket file cannot be created: nothing creates its folder."""
    if not exists(folder):
        yield ConfigFinding("server", "listen", f"there is no folder {folder}; create it")
    for problem in folder_problems(folder, user):
        yield ConfigFinding("server", "listen", problem)


def _tcp(text: str, arguments: Mapping[str, str], *, is_ipv6: bool) -> Iterator[ConfigFinding]:
    """Yield why the port cannot be opened. A port in use is a warning: the other program may end
    before pypid starts.
    """
    interface = arguments.get("interface", "")
    family = AF_INET6 if is_ipv6 or ":" in interface else AF_INET
    try:
        with closing(socket(family)) as probe:
            probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            host = interface or ("::" if family is AF_INET6 else "0.0.0.0")
            address = getaddrinfo(host, int(arguments["port"]), family)[0][4]
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        is_used = error.errno == EADDRINUSE
        yield ConfigFinding("server", "listen", str(cannot_listen(text, error)), is_warning=is_used)


# --- TLS ---


def tls_findings(
    config: Config, paths: StatePaths, user: ServiceUser, now: datetime
) -> Iterator[ConfigFinding]:
    """Yield the findings about the files of TLS. Blocks."""
    if paths.certificate is None or paths.key is None:
        return
    unusable = [
        ConfigFinding("server", key, problem)
        for key, path in (("tls_certificate", paths.certificate), ("tls_key", paths.key))
        for problem in file_problems(path, user)
    ]
    yield from unusable
    if unusable:
        return
    chain, key, minimum = paths.certificate, paths.key, config.server.tls_minimum.value
    wrong = tuple(refusals("server", "tls_key", lambda: Certificate(chain, key, minimum)))
    yield from wrong
    if not wrong:
        yield from _expiry(chain, now)
        yield from key_mode("server", "tls_key", key)


def key_mode(section: str, key: str, path: Path) -> Iterator[ConfigFinding]:
    """Yield a warning if every user of this machine can read the private key."""
    if path.stat().st_mode & _READABLE_BY_OTHERS:
        message = f"every user of this machine can read {path}; run: chmod o= {path}"
        yield ConfigFinding(section, key, message, is_warning=True)


def _expiry(chain: Path, now: datetime) -> Iterator[ConfigFinding]:
    certificate = crypto.load_certificate(crypto.FILETYPE_PEM, chain.read_bytes())
    begins, ends = _time(certificate.get_notBefore()), _time(certificate.get_notAfter())
    if ends <= now:
        message = f"the certificate expired on {ends:%Y-%m-%d}, and clients refuse it; renew it"
    elif begins > now:
        message = f"the certificate is valid from {begins:%Y-%m-%d}; check the clock, or replace it"
    elif ends - now < SOON:
        days = (ends - now).days
        message = f"the certificate expires on {ends:%Y-%m-%d}, in {days} days; renew it"
    else:
        return
    yield ConfigFinding("server", "tls_certificate", message, is_warning=True)


def _time(text: bytes | None) -> datetime:
    """Return a time of a certificate (ASN.1 GENERALIZEDTIME)."""
    return datetime.strptime((text or b"").decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


# Everything that would stop a start with a configuration, and warnings about it.


@frozen
class CheckedConfig:
    """A configuration with its problems, which stop a start, and its warnings. In place of invalid
    values it has the defaults.
    """

    config: Config
    problems: Sequence[ConfigProblem]
    warnings: Sequence[ConfigProblem]


def check_file(file: Path, platform: Platform) -> CheckedConfig:
    """Check a configuration file and what it names on this machine. Blocks, and connects to no
    other machine except for a PostgreSQL with accounts. Raises `BadConfig` for an unreadable file.
    """
    config, problems = load_with_problems(file)
    paths = where(config, platform.environ)
    invalid = {(problem.section, problem.key) for problem in problems}
    found = [
        finding
        for finding in _findings(config, platform, {section for section, _ in invalid})
        if (finding.section, finding.key) not in invalid
    ]
    located = [
        (each.is_warning, problem_at(config, each.section, each.key, each.message))
        for each in found
    ]
    more = [problem for is_warning, problem in located if not is_warning]
    warnings = [problem for is_warning, problem in located if is_warning]
    warnings.extend(doubts(config, _account_names(config, paths)))
    return CheckedConfig(
        config,
        in_order((*problems, *more), config.source),
        in_order(warnings, config.source),
    )


def _findings(
    config: Config, platform: Platform, broken: AbstractSet[str]
) -> Iterator[ConfigFinding]:
    reactor = platform.reactor
    paths = where(config, platform.environ)
    user = ServiceUser.of(paths.state)
    try:
        runs = listens(control_socket(paths.state))
    except ControlRefused:  # it belongs to another user, or hangs
        runs = True
    yield from listen_findings(config, user, platform.environ, reactor, runs=runs)
    yield from tls_findings(config, paths, user, platform.world.now())
    yield from _folder_findings(config, paths, user)
    yield from _component_findings(config, user, platform, broken)
    yield from advisory_findings(config, paths)


def _folder_findings(
    config: Config, paths: StatePaths, user: ServiceUser
) -> Iterator[ConfigFinding]:
    """Yield the findings about the state folder and the storage folder. Blocks."""
    if len(bytes(control_socket(paths.state))) > LONGEST_SOCKET_PATH:
        yield ConfigFinding(
            "server",
            "state",
            f"the path {paths.state} is too long for the control socket in it (at most "
            f"{LONGEST_SOCKET_PATH} bytes for both); name a shorter one",
        )
    for problem in folder_problems(paths.state, user):
        yield ConfigFinding("server", "state", problem)
    folder = paths.storage
    if folder is None:
        return
    if paths.state in folder.parents and not exists(folder):
        return  # reported for the state folder
    for problem in folder_problems(folder, user):
        yield ConfigFinding("storage", "path", problem)
    if not exists(folder) and not may_create_folder(paths):
        yield ConfigFinding(
            "storage",
            "path",
            f"there is no folder {folder}, but the catalog {catalog_file(paths)} lists files in "
            "it; mount its disk, or delete the catalog if the files are meant to be gone",
        )


def _component_findings(
    config: Config, user: ServiceUser, platform: Platform, broken: AbstractSet[str]
) -> Iterator[ConfigFinding]:
    """Yield the findings about storage, catalog, accounts, directory and upstream. Blocks.

    Sections with problems of their own are `broken`, and are not tried.
    """
    paths = where(config, platform.environ)
    world, reactor = platform.world, platform.reactor
    for section, key, path in _files(config, paths):
        for problem in file_problems(path, user):
            yield ConfigFinding(section, key, problem)
    for section, key, attempt in _attempts(config, paths, world, reactor):
        if section not in broken:
            yield from refusals(section, key, attempt)


def _files(config: Config, paths: StatePaths) -> Iterator[tuple[str, str, Path]]:
    """Yield the files that keys name, besides those of TLS."""
    for section, file in _authorities(config, paths):
        yield section, "ca_certificates", file
    for section, key, name in (
        ("storage", "ca_certificates", config.storage.ca_certificates),
        ("storage", "cloudfront_key_file", config.storage.cloudfront_key_file),
        ("ldap", "ca_certificates", config.ldap.ca_certificates),
    ):
        if name is not None:
            yield section, key, paths.ini.parent / name


def _authorities(config: Config, paths: StatePaths) -> Iterator[tuple[str, Path]]:
    """Yield the file of `ca_certificates` of each upstream that sets one, with its section."""
    for section, upstream in sections_of(config).items():
        file = authorities_path(upstream, paths)
        if file is not None and config.is_set(section, "ca_certificates"):
            yield section, file


def _attempts(
    config: Config, paths: StatePaths, world: World, reactor: Any
) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Yield what a start does and what raises `CannotStart`, each with its key."""
    for section, file in _authorities(config, paths):
        if exists(file) and file.is_file():
            yield section, "ca_certificates", partial(authorities_of, file, section)
    if config.storage.backend is StorageBackend.S3:
        yield "storage", "backend", lambda: settings_of_bucket(config.storage, paths)
    if config.database.url is not None:
        yield "database", "url", lambda: engine_of(config, paths, world, reactor)
    if config.signed_urls.cache is UrlCache.REDIS:
        url = config.signed_urls.url or ""
        yield "signed_urls", "cache", lambda: redis_links(url, world, reactor)
    if AccessStore.LDAP in config.access.backend:
        yield "ldap", "url", lambda: directory_of(config, paths, world, reactor)


def _account_names(config: Config, paths: StatePaths) -> AccountNames | None:
    """Return the users and groups of the configuration and of the accounts database; None if other
    sources have users too, or the database cannot be read.
    """
    if not {AccessStore.CONFIG, AccessStore.SQL}.issuperset(config.access.backend):
        return None
    own = configured_names(config)
    if AccessStore.SQL not in config.access.backend:
        return own
    try:
        stored = read_names(accounts_place(config, paths))
    except (CannotStart, DatabaseAway, DatabaseUnusable):
        return None
    return AccountNames(own.users | stored.users, own.groups | stored.groups)
