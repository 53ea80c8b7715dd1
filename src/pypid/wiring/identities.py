"""The wiring of users: the sources that the configuration lists, tokens, sessions and rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pypid.access import config as config_people
from pypid.access.chain import AccessChain, Source
from pypid.access.closed import ClosedAccess
from pypid.access.counted_source import CountedPeople
from pypid.access.outdated_sessions import OutdatedSessions
from pypid.access.passwords import Verifier
from pypid.access.signing_keys import session_key
from pypid.access.sql.people import GroupsOnly, SqlPeople
from pypid.core.claims import Claims
from pypid.core.configuration.choices import AccessStore
from pypid.core.configuration.parse import Config
from pypid.core.records.layout import ACCOUNTS_KNOWN
from pypid.daemon.identities import Identities
from pypid.daemon.known_accounts import KnownAccounts
from pypid.daemon.other_nodes import NoOtherNodes, OtherNodes, read_changes, watch
from pypid.daemon.rules_in_force import people_of
from pypid.daemon.state import StatePaths, files_of
from pypid.daemon.stores import Stores
from pypid.flow import World
from pypid.flow.signals import Provider, Signals
from pypid.ports import Blobs, People

BELIEVED = 60.0
"""Seconds for which a correct password is not checked with the directory again: a run of pip is
fifty requests.
"""


def make_identities(
    config: Config,
    paths: StatePaths,
    stores: Stores,
    world: World,
    reactor: Any,
    claims: Claims,
    signals: Signals,
    nodes: OtherNodes | None = None,
    *,
    blobs: Blobs,
    greet: Callable[[], object] | None = None,
    is_first: bool = True,
    is_open: bool = True,
) -> Identities:
    """Return the identities as configured; only certificates are read yet.

    `nodes`: other nodes that change the same accounts. `blobs`: the storage, which has a note on
    the accounts that belong to it. `greet`, `is_first`: see `Identities`.
    `is_open`: users are admitted at once. Raises `CannotStart`, `Unreadable`.
    """
    verifier = Verifier(world)
    people = config_people.open(people_of(config, paths), world, verifier)
    sql_people = SqlPeople(stores.accounts, verifier, world)
    sources = [
        Source(people, name="config"),
        *sources_of(config, paths, world, reactor, sql_people),
    ]
    if AccessStore.SQL not in config.access.backend:
        sources.append(Source(GroupsOnly(stores.accounts)))
    current = stores.accounts.current
    key = Provider(partial(session_key, paths.state, config.server.secret, world.random))
    chain = AccessChain(
        sources,
        stores.accounts,
        world,
        verifier,
        admins=config.access.admins,
        session_key=key,
        watch=None if nodes is None else partial(watch, current),
    )
    noted = f"{files_of(config, paths).rstrip('/')}/{ACCOUNTS_KNOWN}"
    others = NoOtherNodes() if nodes is None else nodes
    return Identities(
        config=config,
        paths=paths,
        world=world,
        stores=stores,
        chain=chain,
        people=people,
        sql_people=sql_people,
        reactor=reactor,
        outdated=OutdatedSessions(stores.accounts, paths.state, world),
        access=ClosedAccess(chain, is_open, partial(read_changes, current, others, world)),
        claims=claims,
        signals=signals,
        session_key=key,
        known_accounts=KnownAccounts(blobs, stores.accounts, stores.journal, noted, world),
        nodes=others,
        greet=greet,
        is_first=is_first,
    )


def sources_of(
    config: Config,
    paths: StatePaths,
    world: World,
    reactor: Any,
    sql_people: People,
) -> Iterable[Source]:
    """Yield the sources of ``[access] backend``, except the configuration itself: it is always
    asked first, so that its users are never locked out.
    """
    for backend in config.access.backend:
        match backend:
            case AccessStore.CONFIG:
                pass
            case AccessStore.SQL:
                yield Source(sql_people, name="sql")
            case AccessStore.LDAP:
                people = CountedPeople(directory_of(config, paths, world, reactor), "ldap", world)
                yield Source(people, local=False, believed=BELIEVED, name="ldap")


def directory_of(config: Config, paths: StatePaths, world: World, reactor: Any) -> People:
    """Return the LDAP directory, which is not contacted yet. Blocks. Raises `CannotStart`."""
    from pypid.access import ldap
    from pypid.access.ldap.settings import LdapSourceSettings

    options = config.ldap
    authorities = paths.beside_ini(options.ca_certificates)
    settings = LdapSourceSettings(
        url=options.url or "",
        base_dn=options.base_dn or "",
        bind_dn=options.bind_dn,
        bind_password=options.bind_password,
        user_filter=options.user_filter,
        group_base_dn=options.group_base_dn,
        group_filter=options.group_filter,
        admin_group=options.admin_group,
        ca_certificates=None if authorities is None else Path(authorities),
    )
    return ldap.open(settings, world, reactor)
