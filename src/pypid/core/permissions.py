"""Access decisions. Pure: from an identity, the rules in force and an action, to yes or no."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum

from attrs import evolve, field, frozen

from pypid.core.errors import Forbidden, Unauthenticated
from pypid.core.packaging.globs import matches
from pypid.core.packaging.names import ProjectName


class Action(Enum):
    """The actions that clients can attempt; the values complete the sentence "may not ..."."""

    READ = "read"
    WRITE = "publish"
    OVERWRITE = "overwrite files"
    DELETE = "delete"
    FETCH = "fetch from the upstream index"
    COLLECT = "collect files for requirements"
    ADMIN = "administer this index"
    METRICS = "read the metrics of this index"


WORDS = frozenset({"everyone", "authenticated", "admins", "nobody"})
"""Words for sets of users in a list of principals, which cannot be the name of a user or a group.
"""


def account_name(text: str) -> str:
    """Return `text` if it is valid as a user's or a group's name; else raises `ValueError` with the
    reason.

    A colon would split HTTP Basic credentials (RFC 7617) and ``group:team``; ``=``, ``;`` and white
    space split the configuration; a comma probably means two names.
    """
    if not text:
        raise ValueError("a name of a user or group cannot be empty")
    if text in WORDS:
        raise ValueError(f"{text!r} stands for many, so no user or group can be called so")
    if text.startswith("__"):
        raise ValueError(
            "names that begin with two underscores stand for tokens and sessions (__token__), not "
            "for anybody"
        )
    if "," in text:
        raise ValueError(
            "a name of a user or group has no comma; between names stands white space alone"
        )
    if any(
        character in ":=;" or character.isspace() or not character.isprintable()
        for character in text
    ):
        raise ValueError(
            "a name of a user or group has no : = ; and no white space or control characters"
        )
    return text


def is_account_name(text: str, longest: int | None = None) -> bool:
    """Return whether `account_name` accepts the text, and it has at most `longest` characters."""
    try:
        account_name(text)
    except ValueError:
        return False
    return longest is None or len(text) <= longest


@frozen
class Credential:
    """The credentials that a client sent, and its address. The password does not appear in the
    repr.
    """

    user: str
    password: str = field(repr=False)
    address: str = ""
    """The client's address as in the access log; empty if unknown (the control socket)."""


@frozen
class Scope:
    """The limits of a token: `projects` are globs of normalised names."""

    actions: frozenset[Action]
    projects: tuple[str, ...] = ("*",)

    def covers(self, action: Action, project: ProjectName | None) -> bool:
        """Return whether `action` on the project is within the scope; None: on some project.

        The scope to read includes fetching from upstream and collecting, if the token's user may do
        that: a token for reading is what installers use.
        """
        within = action in self.actions or (
            action in (Action.FETCH, Action.COLLECT) and Action.READ in self.actions
        )
        return within and (project is None or matches(project, self.projects))


@frozen
class Identity:
    """The identity of a client. `user` is None for an anonymous client.

    With a `scope` it is a token: it may do what is within its scope and allowed to its user, and
    what everyone may do. A `publisher` (trusted publishing) is a token without a user: it may do
    what is within its scope. `token` is the token's id.
    """

    user: str | None = None
    groups: frozenset[str] = frozenset()
    admin: bool = False
    scope: Scope | None = None
    publisher: bool = False
    token: str | None = None
    until: datetime | None = field(default=None, eq=False, repr=False)
    """When the proof of identity expires (a token, a session); None: never by itself."""


ANONYMOUS = Identity()


@frozen
class Principals:
    """The principals that a rule names, as in `[access] read` and similar keys."""

    everyone: bool = False
    authenticated: bool = False
    admins: bool = False
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Principals:
        """Parse the words of the configuration, separated by white space. Raises `ValueError` with
        the reason.

        ``everyone``, ``authenticated``, ``admins``, ``nobody`` (alone), ``group:team``,
        ``user:alice``; a bare name is a user, but ``Everyone`` is refused as a slip: it would grant
        access to no one.
        """
        words = text.split()
        if "nobody" in words and len(words) > 1:
            raise ValueError("'nobody' stands alone")
        for word in words:
            if word not in WORDS and word.lower() in WORDS:
                raise ValueError(
                    f"{word!r} is spelled {word.lower()}; a user of that name is user:{word}"
                )
        users = {
            account_name(word.removeprefix("user:"))
            for word in words
            if word not in WORDS and word[:6] != "group:"
        }
        return cls(
            everyone="everyone" in words,
            authenticated="authenticated" in words,
            admins="admins" in words,
            users=frozenset(users),
            groups=frozenset(
                account_name(word.removeprefix("group:"))
                for word in words
                if word.startswith("group:")
            ),
        )

    def text(self) -> str:
        """Return the principals as the configuration spells them; `parse` reads it back."""
        named = [word for word in ("everyone", "authenticated", "admins") if getattr(self, word)]
        return (
            " ".join(
                [*named, *sorted(self.users), *(f"group:{group}" for group in sorted(self.groups))]
            )
            or "nobody"
        )

    def include(self, who: Identity) -> bool:
        """Return whether `who` is one of them."""
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
class Grants:
    """A project's own rules. The right to write includes the right to read."""

    read: Principals = NOBODY
    write: Principals = NOBODY


@frozen
class Rules:
    """The access rules: the defaults of `[access]`, and those projects' own rules that have any.

    The defaults for reading and writing do not apply to a project with rules of its own.
    `overwrite` and `delete` require the right to write (overwrite) or to read (delete: as
    `delete_needs` says) the project as well; in a project with rules of its own both require the
    right to write.
    """

    read: Principals = EVERYONE
    write: Principals = AUTHENTICATED
    overwrite: Principals = NOBODY
    delete: Principals = ADMINS
    fetch: Principals = EVERYONE
    """Who may make pypid fetch from upstream (`cache_update`)."""
    collect: Principals = AUTHENTICATED
    """Who may have files collected for requirements and lock files (``/requirements.txt``), if they
    may fetch.
    """
    metrics: Principals = ADMINS
    """Who may read the metrics (`[server] metrics`)."""
    projects: Mapping[ProjectName, Grants] = field(factory=dict)
    delete_needs: Action = Action.READ
    """The right that those in `delete` need on a project without rules of its own: `READ` or
    `WRITE`.
    """
    readers: Principals = field(init=False, eq=False, repr=False)
    """All principals who may read some project with rules of its own."""
    writers: Principals = field(init=False, eq=False, repr=False)

    @readers.default
    def _all_readers(self) -> Principals:
        return together(grants.read for grants in self.projects.values())

    @writers.default
    def _all_writers(self) -> Principals:
        return together(grants.write for grants in self.projects.values())


def together(principals: Iterable[Principals]) -> Principals:
    """Return the union of the principals."""
    found = list(principals)
    return Principals(
        everyone=any(each.everyone for each in found),
        authenticated=any(each.authenticated for each in found),
        admins=any(each.admins for each in found),
        users=frozenset().union(*(each.users for each in found)),
        groups=frozenset().union(*(each.groups for each in found)),
    )


def may(rules: Rules, who: Identity, action: Action, project: ProjectName | None = None) -> bool:
    """Return whether `who` may do `action` on the project; without a project, whether there may be
    one on which they may.

    Admins may do everything except overwrite, which must be granted (files never change).
    """
    if who.scope is None:
        return _granted(rules, who, action, project)
    if not who.scope.covers(action, project):
        return _granted(rules, ANONYMOUS, action, project)
    if who.publisher:
        return action in who.scope.actions or _granted(rules, ANONYMOUS, action, project)
    return _granted(rules, who, action, project)


def _granted(rules: Rules, who: Identity, action: Action, project: ProjectName | None) -> bool:
    own = None if project is None else rules.projects.get(project)
    match action:
        case Action.ADMIN:
            return who.admin
        case Action.OVERWRITE:
            return rules.overwrite.include(who) and _granted(rules, who, Action.WRITE, project)
        case _ if who.admin:
            return True
        case Action.READ:
            if own is not None:
                return own.read.include(who) or own.write.include(who)
            return rules.read.include(who) or (
                project is None and (rules.readers.include(who) or rules.writers.include(who))
            )
        case Action.WRITE:
            if own is not None:
                return own.write.include(who)
            return rules.write.include(who) or (project is None and rules.writers.include(who))
        case Action.DELETE:
            least = rules.delete_needs if own is None else Action.WRITE
            return rules.delete.include(who) and _granted(rules, who, least, project)
        case Action.FETCH:
            return rules.fetch.include(who) and _granted(rules, who, Action.READ, project)
        case Action.COLLECT:
            return rules.collect.include(who) and _granted(rules, who, Action.FETCH, project)
        case Action.METRICS:
            return rules.metrics.include(who)


def authorize(
    rules: Rules, who: Identity, action: Action, project: ProjectName | None = None
) -> None:
    """Raise `Unauthenticated` (anonymous) or `Forbidden` (a user) unless `may` allows the
    action.
    """
    if may(rules, who, action, project):
        return
    if who.user is None:
        raise Unauthenticated()
    limited = who.scope is not None and not who.publisher and not who.scope.covers(action, project)
    raise Forbidden(who.user, action.value, project, token=limited)


@frozen
class Visibility:
    """The set of projects that a viewer may read: viewers who see the same have equal values.

    Contains projects without rules of their own if `usual`; `others` are the exceptions, among
    those with rules. For a token this holds only `within` some names, and beyond them `anyway`
    applies.
    """

    usual: bool
    others: frozenset[ProjectName]
    within: tuple[str, ...] | None = None
    anyway: Visibility | None = None

    def sees(self, name: ProjectName) -> bool:
        """Return whether the viewer may read this project."""
        if self.within is None or matches(name, self.within):
            return (name in self.others) != self.usual
        return self.anyway is not None and self.anyway.sees(name)

    @property
    def sees_all(self) -> bool:
        """Whether nothing is hidden from the viewer."""
        return self.usual and not self.others and self.within is None


EVERYTHING = Visibility(True, frozenset())
"""The visibility of an administrator."""


def visibility_of(rules: Rules, who: Identity) -> Visibility:
    """Return what `who` may read. Takes microseconds for each project with rules of its own, so
    keep the result.
    """
    scope = who.scope
    if scope is None:
        return _readable_by(rules, who)
    anyway = _readable_by(rules, ANONYMOUS)
    if Action.READ not in scope.actions:
        return anyway
    inside = EVERYTHING if who.publisher else _readable_by(rules, who)
    return (
        inside if scope.projects == ("*",) else evolve(inside, within=scope.projects, anyway=anyway)
    )


def _readable_by(rules: Rules, who: Identity) -> Visibility:
    if who.admin:
        return EVERYTHING
    usual = rules.read.include(who)
    # duplicates `_granted`, to avoid a call for each of ten thousand projects
    user, groups = who.user, who.groups
    others = [
        name
        for name, own in rules.projects.items()
        if (
            own.read.everyone
            or (
                user is not None
                and (
                    own.read.authenticated
                    or user in own.read.users
                    or not groups.isdisjoint(own.read.groups)
                )
            )
            or own.write.include(who)
        )
        != usual
    ]
    return Visibility(usual, frozenset(others))
