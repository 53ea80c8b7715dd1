"""What a configuration says of users: who may log in, the rules in force, and the names it uses."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, frozen

from pypid.access import config as config_people
from pypid.core.accounts.entries import Account, AccountStatus
from pypid.core.accounts.registration import AccountSettings
from pypid.core.accounts.rights import Right, Whom, claimed, grants_of
from pypid.core.accounts.trusted_publishers import users_of
from pypid.core.configuration.parse import Config
from pypid.core.errors import BadName
from pypid.core.packaging.globs import NameSet
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import Action, Rules
from pypid.daemon.state import StatePaths
from pypid.web.app.registry import Configured


def people_of(config: Config, paths: StatePaths) -> config_people.UsersSettings:
    """Return the settings of ``[users]`` and ``[groups]``."""
    groups = {name: frozenset(members) for name, members in config.groups.items()}
    return config_people.UsersSettings(users=config.users, state=paths.state, groups=groups)


def rules_of(config: Config, rights: Iterable[Right] = ()) -> Rules:
    """Return the rules in force, with the `rights` of the accounts database in addition to
    ``[projects]``; without owners of projects.
    """
    access = config.access
    return Rules(
        read=access.read,
        write=access.write,
        overwrite=access.overwrite,
        delete=access.delete,
        delete_needs=Action[access.delete_needs.name],
        fetch=access.cache_update,
        collect=access.collect,
        metrics=config.server.metrics,
        projects=grants_of([*config.projects.values(), *rights]),
        ownership=access.owners,
    )


def account_settings(config: Config) -> AccountSettings:
    """Return who may create an account, and how long a session lasts."""
    access = config.access
    return AccountSettings(
        registration=access.registration,
        captcha=access.captcha,
        session_lifetime=access.session_lifetime,
    )


def configured_by(config: Config, first: Account | None) -> Configured:
    """Return the users that the configuration names, the admin of the `first` run among them."""
    access, rights = config.access, tuple(config.projects.values())
    hashes = {**config.users, **({} if first is None else {first.name: first.hash})}
    users = frozenset(hashes)
    lists = (
        *(
            access.read,
            access.write,
            access.cache_update,
            access.collect,
            access.overwrite,
            access.delete,
        ),
        config.server.metrics,
        *(who for each in config.indexes.values() for who in (each.read, each.write, each.delete)),
    )
    mentioned = (
        set(users)
        | set(access.admins)
        | {name for principals in lists if principals is not None for name in principals.users}
    )
    mentioned.update(*config.groups.values())
    mentioned.update(right.name for right in rights if right.whom is Whom.USER)
    for name, issuer in config.issuers.items():
        mentioned.update(users_of(name, issuer.url, issuer.allow))
    return Configured(
        users=users,
        groups=frozenset(config.groups),
        members={name: frozenset(members) for name, members in config.groups.items()},
        hashes=hashes,
        admins=frozenset(access.admins) | (users - set(config.users)),
        first_admin=first,
        rights=rights,
        mentioned=frozenset(mentioned),
    )


def is_administered(config: Config, accounts: Iterable[Account]) -> bool:
    """Return whether a user of the configuration or of these accounts may administer the index."""
    able = [account for account in accounts if account.status is AccountStatus.ACTIVE]
    there = {*config.users, *(account.name for account in able)}
    return any(account.admin for account in able) or not there.isdisjoint(config.access.admins)


@frozen
class InForce:
    """The rules, and the names that are local by them (`policy.Claims`)."""

    rules: Rules
    claims: NameSet


def in_force(config: Config, rights: Iterable[Right]) -> InForce:
    """Return the rules and the names. Takes a tenth of a second for ten thousand rights."""
    rules = rules_of(config, rights)
    claims = claimed(rules.projects)
    return InForce(rules, evolve(claims, names=claims.names | _published_by_workflows(config)))


def _published_by_workflows(config: Config) -> frozenset[ProjectName]:
    """Return the projects that an issuer's workflows may publish by name: local before the first
    upload.
    """
    found = set()
    for issuer in config.issuers.values():
        for line in issuer.allow:
            try:
                found.add(project_name(line.split()[0]))
            except (BadName, IndexError):  # a glob
                continue
    return frozenset(found)
