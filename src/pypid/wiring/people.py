"""The sources of users that the configuration lists, opened; and with them everything on users
(`identities`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pypid.access import config as config_people
from pypid.access.chain import AccessChain, Source
from pypid.access.closed import ClosedAccess
from pypid.access.counted_source import CountedPeople
from pypid.access.outdated_sessions import OutdatedSessions
from pypid.access.passwords import Verifier
from pypid.access.sql.groups import GroupsOnly
from pypid.access.sql.people import SqlPeople
from pypid.core.configuration.choices import AccessStore
from pypid.core.configuration.parse import Config
from pypid.core.policy import Claims
from pypid.daemon.identities import Identities, open_stores
from pypid.daemon.rules_in_force import people_of
from pypid.daemon.state import StatePaths
from pypid.flow import World
from pypid.ports import People

if TYPE_CHECKING:  # imported where it is configured
    from pypid.http_client.connections import HttpConnections

BELIEVED = 60.0
"""Seconds for which a correct password is not checked with the directory again: a run of pip is
fifty requests.
"""


def identities(
    config: Config, places: StatePaths, world: World, reactor: Any, claims: Claims
) -> Identities:
    """Return the identities as configured; only certificates are read yet. Raises `CannotStart`,
    `Unreadable`.
    """
    stores = open_stores(config, places, world, reactor)
    verifier = Verifier(world)
    people = config_people.open(people_of(config, places), world, verifier)
    sql_people = SqlPeople(stores.accounts, verifier, world)
    opened: list[HttpConnections] = []
    sources = [Source(people), *_sources(config, places, world, reactor, sql_people, opened)]
    if AccessStore.SQL not in config.access.backend:
        sources.append(Source(GroupsOnly(stores.accounts)))
    chain = AccessChain(sources, stores.accounts, world, verifier, admins=config.access.admins)
    return Identities(
        config=config,
        places=places,
        world=world,
        stores=stores,
        chain=chain,
        people=people,
        sql_people=sql_people,
        reactor=reactor,
        connections=opened,
        outdated=OutdatedSessions(stores.accounts, places.state, world),
        access=ClosedAccess(chain),
        claims=claims,
    )


def _sources(
    config: Config,
    places: StatePaths,
    world: World,
    reactor: Any,
    sql_people: People,
    opened: list[HttpConnections],
) -> Iterable[Source]:
    """Yield the sources of ``[access] backend``, except the configuration itself: it is always
    asked first, so that its users are never locked out.
    """
    for backend in config.access.backend:
        match backend:
            case AccessStore.CONFIG:
                pass
            case AccessStore.SQL:
                yield Source(sql_people)
            case AccessStore.LDAP:
                people = CountedPeople(_directory(config, places, world, reactor), "ldap", world)
                yield Source(people, local=False, believed=BELIEVED)
            case AccessStore.REMOTE:
                from pypid.access import remote

                said = config.remote
                reached = remote.connected(reactor)
                opened.append(reached)
                settings = remote.RemoteSourceSettings(
                    url=said.url or "",
                    user=said.user,
                    password=said.password,
                    cache=said.cache.total_seconds(),
                )
                yield Source(
                    CountedPeople(remote.open(settings, world, reached.agent), "remote", world),
                    local=False,
                )


def _directory(config: Config, places: StatePaths, world: World, reactor: Any) -> People:
    from pypid.access import ldap

    said = config.ldap
    authorities = places.beside_ini(said.ca_certificates)
    settings = ldap.LdapSourceSettings(
        url=said.url or "",
        base_dn=said.base_dn or "",
        bind_dn=said.bind_dn,
        bind_password=said.bind_password,
        user_filter=said.user_filter,
        group_base_dn=said.group_base_dn,
        group_filter=said.group_filter,
        admin_group=said.admin_group,
        ca_certificates=None if authorities is None else Path(authorities),
    )
    return ldap.open(settings, world, reactor)
