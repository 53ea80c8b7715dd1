"""Who may do what. Pure: an identity, the rules in force and an action in, yes or no out."""

from __future__ import annotations

from enum import Enum

from attrs import field, frozen

from pypid.core.errors import Forbidden, Unauthenticated
from pypid.core.names import ProjectName


class Action(Enum):
    """What somebody wants to do; the values complete the sentence "may not ..."."""

    READ = "read"
    WRITE = "publish"
    OVERWRITE = "overwrite files"
    DELETE = "delete"
    ADMIN = "administer this index"


@frozen
class Credential:
    """What a client sent to prove who it is. The password is in no repr."""

    user: str
    password: str = field(repr=False)


@frozen
class Identity:
    """Who is asking. `user` is None for somebody unknown."""

    user: str | None = None
    groups: frozenset[str] = frozenset()
    admin: bool = False


ANONYMOUS = Identity()


@frozen
class Principals:
    """Whom a rule names, as `[access] read` and the like spell it."""

    everyone: bool = False
    authenticated: bool = False
    admins: bool = False
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def include(self, who: Identity) -> bool:
        """Whether `who` is one of them."""
        if self.everyone or who.user is None:
            return self.everyone
        if self.authenticated or (self.admins and who.admin):
            return True
        return who.user in self.users or not self.groups.isdisjoint(who.groups)


EVERYONE = Principals(everyone=True)
AUTHENTICATED = Principals(authenticated=True)
ADMINS = Principals(admins=True)
NOBODY = Principals()


@frozen
class Rules:
    """The defaults of `[access]`, for projects without rules of their own."""

    read: Principals = EVERYONE
    write: Principals = AUTHENTICATED
    overwrite: Principals = NOBODY
    delete: Principals = ADMINS


def may(rules: Rules, who: Identity, action: Action, project: ProjectName | None = None) -> bool:
    """Whether `who` may do `action`. Admins may do all but overwrite, which must be granted (files never change)."""
    match action:
        case Action.READ:
            return who.admin or rules.read.include(who)
        case Action.WRITE:
            return who.admin or rules.write.include(who)
        case Action.DELETE:
            return who.admin or rules.delete.include(who)
        case Action.OVERWRITE:
            return rules.overwrite.include(who)
        case Action.ADMIN:
            return who.admin


def demand(rules: Rules, who: Identity, action: Action, project: ProjectName | None = None) -> None:
    """Raise `Unauthenticated` for somebody unknown, `Forbidden` for somebody known, unless `may`."""
    if may(rules, who, action, project):
        return
    if who.user is None:
        raise Unauthenticated()
    raise Forbidden(who.user, action.value, project)
