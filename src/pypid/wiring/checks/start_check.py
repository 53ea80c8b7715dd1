"""Everything that would stop a start with a configuration, and warnings about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen

from pypid.access.sql.account_names import read_names
from pypid.core.configuration.choices import AccessStore, CatalogStore, StorageBackend
from pypid.core.configuration.doubts import AccountNames, configured_names, doubts, problem_at
from pypid.core.configuration.parse import Config, in_order
from pypid.core.errors import CannotStart, ConfigProblem
from pypid.daemon.control import ControlRefused, listens
from pypid.daemon.shared_catalog import engine_of
from pypid.daemon.state import LONGEST_SOCKET_PATH, StatePaths, control_socket, where
from pypid.daemon.stores import accounts_place, open_stores
from pypid.databases.faults import DatabaseAway, DatabaseUnusable
from pypid.flow import World
from pypid.wiring.advisories import advisory_findings
from pypid.wiring.checks.file_access import ServiceUser, exists, file_problems, folder_problems
from pypid.wiring.checks.finding import ConfigFinding, refusals
from pypid.wiring.checks.listeners import listen_findings, tls_findings
from pypid.wiring.configuration import load_with_problems
from pypid.wiring.identities import directory_of
from pypid.wiring.platform import Platform
from pypid.wiring.storage import may_create_folder, settings_of_bucket
from pypid.wiring.upstreams import authorities_of, authorities_path, sections_of


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
    located = [(each.is_warning, _located(config, each)) for each in found]
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


def _located(config: Config, finding: ConfigFinding) -> ConfigProblem:
    return problem_at(config, finding.section, finding.key, finding.message)


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
            f"there is no folder {folder}, but the catalog dump {paths.snapshot} lists files in "
            "it; mount its disk, or delete the dump if the files are meant to be gone",
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
        yield "storage", "backend", lambda: _bucket(config, paths)
    if config.catalog.backend is not CatalogStore.MEMORY:
        yield "catalog", "url", lambda: engine_of(config, paths, world, reactor)
    yield "access", "url", lambda: open_stores(config, paths, world, reactor)
    if AccessStore.LDAP in config.access.backend:
        yield "ldap", "url", lambda: directory_of(config, paths, world, reactor)


def _bucket(config: Config, paths: StatePaths) -> Any:
    return settings_of_bucket(config.storage, paths)


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
