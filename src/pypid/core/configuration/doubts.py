"""Warnings about a valid configuration: names of users and groups that are not defined, values that
contain what was meant as a comment or as quotation marks, and access that is open by mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from ipaddress import ip_address

from attrs import frozen

from pypid.core.accounts.rights import NAMED, Whom
from pypid.core.accounts.trusted_publishers import users_of
from pypid.core.configuration.checks import nearest
from pypid.core.configuration.choices import AccessStore, Mode
from pypid.core.configuration.ini import printable
from pypid.core.configuration.keys import INDEX, ISSUER, SECTIONS, IndexKeys, keys
from pypid.core.configuration.parse import Config, never_asked, overlaps
from pypid.core.configuration.values import endpoint_arguments
from pypid.core.errors import ConfigProblem
from pypid.core.permissions import Principals

_FIRST_ADMIN = "admin"
"""The administrator of a first run, who is in no section."""


@frozen
class AccountNames:
    """The names of users and groups that exist."""

    users: AbstractSet[str]
    groups: AbstractSet[str]


def configured_names(config: Config) -> AccountNames:
    """Return the names of `[users]` and `[groups]`."""
    return AccountNames(frozenset(config.users) | {_FIRST_ADMIN}, frozenset(config.groups))


def names_only_itself(config: Config) -> bool:
    """Return whether all users and groups are in the configuration."""
    return config.access.backend == (AccessStore.CONFIG,)


def doubts(config: Config, names: AccountNames | None) -> tuple[ConfigProblem, ...]:
    """Return the warnings. `names`: all users and groups; None if they are not known."""
    unknown = () if names is None else _unknown_names(config, names)
    return (*_literals(config), *_without_effect(config), *_open(config), *unknown)


def problem_at(config: Config, section: str, key: str, message: str) -> ConfigProblem:
    """Return a problem with the value of a key: at its origin, else in the file as a whole."""
    origin = config.origins.get((section, key), config.source)
    line = origin.removeprefix(f"{config.source}:")
    where, number = (config.source, int(line)) if line.isdecimal() else (origin, None)
    return ConfigProblem(where, number, printable(section), printable(key), message)


def _literals(config: Config) -> Iterator[ConfigProblem]:
    for name, section in SECTIONS.items():
        for key, declared in keys(section).items():
            value = getattr(getattr(config, name), key)
            if not isinstance(value, str) or (name, key) not in config.origins:
                continue
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                yield problem_at(
                    config,
                    name,
                    key,
                    "the quotation marks are part of the value; write it without them",
                )
            elif re.search(r"\s#", value) and "\n" not in value and not declared.secret:
                yield problem_at(
                    config,
                    name,
                    key,
                    f"the value is {printable(value)!r}. After a value, only ; starts a comment.",
                )


def _without_effect(config: Config) -> Iterator[ConfigProblem]:
    upstream, advisories = config.upstream, config.advisories
    if upstream.cooldown_fixes and not (advisories.source or advisories.own):
        yield problem_at(
            config,
            "upstream",
            "cooldown_fixes",
            "it has no effect without [advisories] source: nothing says what a version fixes",
        )
    published = {right.project for right in config.projects.values() if right.write}
    for section, key, advice, _ in (
        *never_asked(upstream, config.upstreams, published - set(upstream.allow_mixed)),
        *overlaps(upstream, config.upstreams),
    ):
        yield problem_at(config, section, key, advice)


def _open(config: Config) -> Iterator[ConfigProblem]:
    """Yield what the network can reach and is rarely meant to."""
    server, access = config.server, config.access
    reachable = [text for text in server.listen if _is_reachable(text)]
    if not reachable:
        return
    if not (server.tls_certificate or server.trusted_proxies):
        yield problem_at(
            config,
            "server",
            "listen",
            f"{reachable[0]} takes passwords from the network without TLS. Set tls_certificate and "
            "tls_key, or trusted_proxies = ADDRESS of a proxy that has TLS, or "
            "listen = 127.0.0.1:6543",
        )
    if access.read.everyone and config.upstream.mode is Mode.CACHE:
        yield problem_at(
            config,
            "access",
            "read",
            "all clients that reach this server can install private projects without a login, and "
            "fetch from the upstream index through it. To require a login: read = authenticated",
        )


def _is_reachable(endpoint: str) -> bool:
    """Return whether other machines can connect without TLS of the endpoint's own."""
    kind, arguments = endpoint_arguments(endpoint)
    interface = arguments.get("interface") or "0.0.0.0"
    try:
        return kind in ("tcp", "tcp6") and not ip_address(interface).is_loopback
    except ValueError:
        return True


def _unknown_names(config: Config, names: AccountNames) -> Iterator[ConfigProblem]:
    for section, key, users, groups in _named(config):
        for kind, unknown, known in (
            ("user", sorted(users - names.users), names.users),
            ("group", sorted(groups - names.groups), names.groups),
        ):
            for name in unknown:
                advice = nearest(name, known) or _where_to_define(config, kind, name)
                yield problem_at(
                    config, section, key, f"there is no {kind} {printable(name)!r}{advice}"
                )


def _where_to_define(config: Config, kind: str, name: str) -> str:
    if AccessStore.SQL in config.access.backend:
        option = " --inherit" if kind == "user" else ""  # the configuration names the user already
        return f"; create it: pypid {kind} create {printable(name)}{option}"
    return f"; add it to [{kind}s], or list sql in [access] backend and create it there"


def _named(config: Config) -> Iterable[tuple[str, str, AbstractSet[str], AbstractSet[str]]]:
    """Yield section, key, users and groups of each value that names any."""
    for section in ("server", "access"):
        for key in keys(SECTIONS[section]):
            value = getattr(getattr(config, section), key)
            if isinstance(value, Principals):
                yield section, key, value.users, value.groups
    yield "access", "admins", frozenset(config.access.admins), frozenset()
    for index_name, index in config.indexes.items():
        for key in keys(IndexKeys):
            value = getattr(index, key)
            if isinstance(value, Principals):
                yield INDEX + index_name, key, value.users, value.groups
    for issuer_name, issuer in config.issuers.items():
        users = users_of(issuer_name, issuer.url, issuer.allow)
        yield ISSUER + issuer_name, "allow", users, frozenset()
    for group, members in config.groups.items():
        yield "groups", group, frozenset(members), frozenset()
    for rule, right in config.projects.items():
        if right.whom in NAMED:
            name = frozenset({right.name})
            is_user = right.whom is Whom.USER
            yield "projects", rule, *((name, frozenset()) if is_user else (frozenset(), name))
