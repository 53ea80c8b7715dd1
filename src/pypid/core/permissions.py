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
    FETCH = "fetch from the upstream index"
    ADMIN = "administer this index"


WORDS = frozenset({"everyone", "authenticated", "admins", "nobody"})
"""What stands for many in a list of principals, and so cannot be the name of a user or a group."""


def account_name(text: str) -> str:
    """`text`, if a user or a group can be called so; else raises `ValueError` with the reason.

    A colon would cut HTTP Basic credentials (RFC 7617) and ``group:team``; ``=``, ``;`` and white space cut the configuration.
    """
    if not text:
        raise ValueError("a name of a user or group cannot be empty")
    if text in WORDS:
        raise ValueError(f"{text!r} stands for many, so no user or group can be called so")
    if any(character in ":=;" or character.isspace() or not character.isprintable() for character in text):
        raise ValueError("a name of a user or group has no : = ; white space or control characters")
    return text


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

    @classmethod
    def parse(cls, text: str) -> Principals:
        """From the words of the configuration, with white space between them; raises `ValueError` with the reason.

        ``everyone``, ``authenticated``, ``admins``, ``nobody`` (alone), ``group:team``, ``user:alice``; a bare name is a user.
        """
        words = text.split()
        if "nobody" in words and len(words) > 1:
            raise ValueError("'nobody' stands alone")
        users = {account_name(word.removeprefix("user:")) for word in words if word not in WORDS and word[:6] != "group:"}
        return cls(
            everyone="everyone" in words,
            authenticated="authenticated" in words,
            admins="admins" in words,
            users=frozenset(users),
            groups=frozenset(account_name(word.removeprefix("group:")) for word in words if word.startswith("group:")),
        )

    def text(self) -> str:
        """As the configuration spells them; `parse` reads it back."""
        named = [word for word in ("everyone", "authenticated", "admins") if getattr(self, word)]
        return " ".join([*named, *sorted(self.users), *(f"group:{group}" for group in sorted(self.groups))]) or "nobody"

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
    fetch: Principals = EVERYONE
    """Who may make pypid fetch from upstream (`cache_update`)."""


def may(rules: Rules, who: Identity, action: Action, project: ProjectName | None = None) -> bool:
    """Whether `who` may do `action`. Admins may do all but overwrite, which must be granted (files never change)."""
    match action:
        case Action.READ:
            return who.admin or rules.read.include(who)
        case Action.WRITE:
            return who.admin or rules.write.include(who)
        case Action.DELETE:
            return who.admin or rules.delete.include(who)
        case Action.FETCH:
            return who.admin or rules.fetch.include(who)
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
