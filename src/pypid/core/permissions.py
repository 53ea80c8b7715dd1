"""Who may do what, which projects a viewer may read, and what a refusal advises. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from difflib import get_close_matches
from enum import Enum
from functools import cached_property
from shlex import quote

from attrs import evolve, field, frozen

from pypid.core.configuration.choices import Owners
from pypid.core.errors import MANAGE_RIGHTS, Forbidden, PeopleUnknown, Unauthenticated
from pypid.core.packaging.names import (
    GlobTable,
    ProjectGlob,
    ProjectName,
    ProjectPattern,
    is_glob,
    matches,
)


class Action(Enum):
    """The actions that clients can attempt; the values complete the sentence "may not ..."."""

    READ = "read"
    WRITE = "publish"
    OVERWRITE = "overwrite files"
    DELETE = "delete"
    FETCH = "fetch from the upstream index"
    COLLECT = "collect files for requirements"
    MANAGE = MANAGE_RIGHTS
    ADMIN = "administer this index"
    METRICS = "read the metrics of this index"


WORDS = frozenset({"everyone", "authenticated", "admins", "nobody"})
_OTHER_WORDS = {"all": "everyone", "any": "everyone", "anyone": "everyone", "*": "everyone"}
"""Words for principals in other programs, and those of pypid."""
"""Words for sets of users in a list of principals, which cannot be the name of a user or a group.
"""


def _meant_word(name: str) -> str:
    """Return the word for principals that a bare name probably stands for; "" if it is a name."""
    word = name.lower()
    if name in WORDS or word in WORDS:
        return "" if name in WORDS else word
    close = (
        get_close_matches(word, ("everyone", "authenticated"), 1, 0.85) if word.isalpha() else ()
    )
    return _OTHER_WORDS.get(word) or next(iter(close), "")


def account_name(text: str) -> str:
    """Return `text` if it is valid as a user's or a group's name; else raises `ValueError` with the
    reason.

    A colon would split HTTP Basic credentials (RFC 7617) and ``group:team``; ``=``, ``;`` and white
    space split the configuration; a comma probably means two names.
    """
    if not text:
        raise ValueError("a name of a user or group cannot be empty")
    if text in WORDS:
        raise ValueError(f"{text!r} is a reserved word, and no name of a user or group")
    if text.startswith("__"):
        raise ValueError(
            "names that begin with two underscores stand for tokens and sessions (__token__), not "
            "for users"
        )
    if "," in text:
        raise ValueError("write spaces between names, no commas")
    if any(
        character in ":=;" or character.isspace() or not character.isprintable()
        for character in text
    ):
        raise ValueError(
            "user and group names cannot contain : = ; white space or control characters"
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
    """A client's credentials and address. The password does not appear in the repr."""

    user: str
    password: str = field(repr=False)
    address: str = ""
    """The client's address as in the access log; empty if unknown (the control socket)."""


_INCLUDED = {
    Action.FETCH: Action.READ,
    Action.COLLECT: Action.READ,
    Action.MANAGE: Action.ADMIN,
}
"""Actions that the scope of another action includes."""


@frozen
class Scope:
    """The limits of a token: `projects` are globs of normalised names."""

    actions: frozenset[Action]
    projects: tuple[str, ...] = ("*",)

    def covers(self, action: Action, project: ProjectName | None) -> bool:
        """Return whether `action` on the project is within the scope; None: on some project.

        The scope to read includes fetching from upstream and collecting, if the token's user may do
        that: a token for reading is what installers use. The scope to administer includes managing
        rights.
        """
        within = action in self.actions or _INCLUDED.get(action) in self.actions
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
    account: str = ""
    """What identifies the account: not the name alone, because another person may get the name of a
    removed account (`access.chain`). Empty for clients without an account, who own nothing.
    """
    as_user: str | None = None
    """The user for whom a trusted publisher publishes, and whose name is compared with
    `Rules.admitted`; `groups` are then those of this user.
    """
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
        ``user:alice``; a bare name is a user, but ``Everyone``, ``authentificated`` and ``all`` are
        refused as slips: they would grant access to no one.
        """
        words = text.split()
        if "nobody" in words and len(words) > 1:
            raise ValueError("'nobody' cannot be combined with other values")
        for word in words:
            if meant := _meant_word(word):
                raise ValueError(f"did you mean {meant}? A user of that name is user:{word}")
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
        words = (
            *(word for word in ("everyone", "authenticated", "admins") if getattr(self, word)),
            *(f"user:{user}" if _meant_word(user) else user for user in sorted(self.users)),
            *(f"group:{group}" for group in sorted(self.groups)),
        )
        return " ".join(words) or "nobody"

    def include(self, who: Identity) -> bool:
        """Return whether `who` is one of them."""
        if self.everyone or who.user is None:
            return self.everyone
        if self.authenticated or (self.admins and who.admin):
            return True
        return (who.as_user or who.user) in self.users or not self.groups.isdisjoint(who.groups)


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
class ProjectRules:
    """The rules of single projects and of globs of projects. The rule of a project is the one under
    its exact name, else that of the most specific glob that matches it.
    """

    names: Mapping[ProjectName, Grants] = field(factory=dict)
    globs: GlobTable[Grants] = field(factory=GlobTable)

    @classmethod
    def of(cls, rules: ProjectRules | Mapping[ProjectPattern, Grants]) -> ProjectRules:
        """Return the rules, by names and globs."""
        if isinstance(rules, ProjectRules):
            return rules
        globs = {ProjectGlob(key): grants for key, grants in rules.items() if is_glob(key)}
        names = {ProjectName(key): grants for key, grants in rules.items() if not is_glob(key)}
        return cls(names, GlobTable(globs))

    def __len__(self) -> int:
        return len(self.names) + len(self.globs)

    def get(self, project: ProjectName) -> Grants | None:
        """Return the rule of the project; None if only the defaults apply to it."""
        own = self.names.get(project)
        return self.globs.of(project) if own is None else own

    @cached_property
    def readers(self) -> Principals:
        """All principals who may read some project by a rule."""
        return together(grants.read for grants in self.all())

    @cached_property
    def writers(self) -> Principals:
        """All principals who may write some project by a rule."""
        return together(grants.write for grants in self.all())

    def all(self) -> Iterable[Grants]:
        """Return the rules of all names and globs."""
        return (*self.names.values(), *self.globs.values.values())


def _project_rules(rules: ProjectRules | Mapping[ProjectPattern, Grants]) -> ProjectRules:
    return ProjectRules.of(rules)


@frozen
class ProjectOwners:
    """The accounts that own projects, by index (empty: the default one) and project."""

    accounts: Mapping[tuple[str, ProjectName], str] = field(factory=dict)

    def __len__(self) -> int:
        return len(self.accounts)

    @cached_property
    def _owned(self) -> Mapping[tuple[str, str], frozenset[ProjectName]]:
        owned: dict[tuple[str, str], set[ProjectName]] = {}
        for (index, project), account in self.accounts.items():
            owned.setdefault((index, account), set()).add(project)
        return {key: frozenset(projects) for key, projects in owned.items()}

    def of_account(self, index: str, account: str) -> frozenset[ProjectName]:
        """Return the projects of the index that the account owns."""
        return self._owned.get((index, account), frozenset()) if account else frozenset()


@frozen
class Rules:
    """The access rules: the defaults of `[access]`, the rules of projects and globs, and owners.

    The defaults for reading and writing do not apply to a project with a rule (`ProjectRules`).
    An owner may do in addition what a right to write allows, and manage the rights of the project;
    the default for writing does not apply to a project with an owner. `overwrite` and `delete`
    require the right to write (overwrite) or to read (delete: as `delete_needs` says) the project
    as well; in a project with a rule or an owner both require the right to write.
    """

    read: Principals = EVERYONE
    write: Principals = AUTHENTICATED
    overwrite: Principals = NOBODY
    delete: Principals = ADMINS
    fetch: Principals = EVERYONE
    """Who may make pypid fetch from upstream (`cache_update`)."""
    collect: Principals = AUTHENTICATED
    """Who may have files collected (``/requirements.txt``), if they may fetch."""
    metrics: Principals = ADMINS
    """Who may read the metrics (`[server] metrics`)."""
    projects: ProjectRules = field(factory=ProjectRules, converter=_project_rules)
    delete_needs: Action = Action.READ
    """What those in `delete` need on a project without rule and owner: `READ` or `WRITE`."""
    ownership: Owners = Owners.NONE
    """Who becomes the owner of a new project. With `NONE` the owners have no effect."""
    owners: ProjectOwners = field(factory=ProjectOwners)
    index: str = ""
    """The name of the index whose owners apply; empty: the default one."""
    admitted: Principals = EVERYONE
    """The only principals who may do anything, whatever the rules of a project say; administrators
    need not be among them.
    """
    admitted_writers: Principals = EVERYONE
    """The only principals who may publish, yank and overwrite, whatever the rules of a project say,
    and also if they own it; administrators need not be among them.
    """
    is_stale: bool = False
    """Whether rights may have changed meanwhile where they cannot be read (`cut_off`)."""
    volatile: bool = False
    """Whether users who may publish may also overwrite and delete."""
    is_created: bool = False
    """Whether `pypid index` changes the settings of the index; else only the configuration does."""
    own_keys: frozenset[str] = frozenset()
    """The keys that the index sets itself, of `read`, `write`, `delete` and `owners`; the others
    have the values of `[access]`.
    """

    def owner_of(self, project: ProjectName) -> str | None:
        """Return the account that owns the project in this index; None if there is none."""
        if self.ownership is Owners.NONE:
            return None
        return self.owners.accounts.get((self.index, project))

    def owned_by(self, who: Identity) -> frozenset[ProjectName]:
        """Return the projects of this index that the client owns."""
        if self.ownership is Owners.NONE or self.is_stale:
            return frozenset()
        return self.owners.of_account(self.index, who.account)


def cut_off(rules: Rules) -> Rules:
    """Return the rules while the rights cannot be read: projects and globs with a right are for
    administrators only, and owners may do nothing more than others.
    """
    closed = Grants()
    names = dict.fromkeys(rules.projects.names, closed)
    projects = ProjectRules(names, rules.projects.globs.map(lambda _: closed))
    return evolve(rules, projects=projects, is_stale=True)


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


def may(rules: Rules, who: Identity, action: Action, project: ProjectName | None) -> bool:
    """Return whether `who` may do `action` on the project; None: whether there may be one on which
    they may.

    Admins may do everything except overwrite, which must be granted (files never change).
    """
    is_covered = who.scope is None or who.scope.covers(action, project)
    if rules.volatile and action in (Action.OVERWRITE, Action.DELETE) and is_covered:
        return _may(rules, who, action, project) or _may(rules, who, Action.WRITE, project)
    return _may(rules, who, action, project)


def _may(rules: Rules, who: Identity, action: Action, project: ProjectName | None) -> bool:
    if who.scope is None:
        return _granted(rules, who, action, project)
    if not who.scope.covers(action, project):
        return _granted(rules, ANONYMOUS, action, project)
    if who.publisher:
        is_inside = rules.admitted.include(who) and (
            action is Action.READ or rules.admitted_writers.include(who)
        )
        within = action in who.scope.actions and is_inside
        return within or _granted(rules, ANONYMOUS, action, project)
    return _granted(rules, who, action, project)


def _granted(rules: Rules, who: Identity, action: Action, project: ProjectName | None) -> bool:
    own = owner = None
    if project is not None:
        own, owner = rules.projects.get(project), rules.owner_of(project)
    match action:
        case Action.ADMIN:
            return who.admin
        case Action.OVERWRITE:
            return rules.overwrite.include(who) and _granted(rules, who, Action.WRITE, project)
        case _ if who.admin:
            return True
        case _ if not rules.admitted.include(who):
            return False
        case Action.WRITE if not rules.admitted_writers.include(who):
            return False
        case Action.READ | Action.WRITE | Action.MANAGE if _owns(rules, who, owner, project):
            return True
        case Action.READ:
            if own is not None:
                return own.read.include(who) or own.write.include(who)
            return rules.read.include(who) or (
                project is None
                and (rules.projects.readers.include(who) or rules.projects.writers.include(who))
            )
        case Action.WRITE:
            if own is not None:
                return own.write.include(who)
            if project is None and rules.projects.writers.include(who):
                return True
            return owner is None and rules.write.include(who)
        case Action.DELETE:
            least = rules.delete_needs if own is None and owner is None else Action.WRITE
            return rules.delete.include(who) and _granted(rules, who, least, project)
        case Action.FETCH:
            return rules.fetch.include(who) and _granted(rules, who, Action.READ, project)
        case Action.COLLECT:
            return rules.collect.include(who) and _granted(rules, who, Action.FETCH, project)
        case Action.METRICS:
            return rules.metrics.include(who)
        case Action.MANAGE:
            return False


def may_take(rules: Rules, who: Identity, project: ProjectName) -> bool:
    """Return whether `who` may make a project local whose name is used from upstream: an
    administrator, or a user with the right to write this name or a glob.
    """
    own = rules.projects.get(project)
    has_scope = who.scope is None or who.scope.covers(Action.WRITE, project)
    return who.admin or (has_scope and own is not None and own.write.include(who))


def _owns(rules: Rules, who: Identity, owner: str | None, project: ProjectName | None) -> bool:
    if project is None:
        return bool(rules.owned_by(who))
    return bool(owner) and owner == who.account and not rules.is_stale


# Refusals: they say which right a client lacks, and who can give it, how. Pure.

ASK = "Ask an administrator"
_KEYS = {
    Action.OVERWRITE: "overwrite",
    Action.DELETE: "delete",
    Action.FETCH: "fetch",
    Action.COLLECT: "collect",
}
"""The principals that these actions need besides the right to read or publish."""
_CHANGES = (Action.WRITE, Action.OVERWRITE, Action.DELETE)
_SPELLED = {"fetch": "cache_update"}


def authorize(rules: Rules, who: Identity, action: Action, project: ProjectName | None) -> None:
    """Raise `Unauthenticated` (anonymous) or `Forbidden` (a user) unless `may` allows the action;
    `PeopleUnknown` if the project has rights or an owner, and they cannot be read now.
    """
    if may(rules, who, action, project):
        return
    if rules.is_stale and project is not None:
        own, owner = rules.projects.get(project), rules.owner_of(project)
        if own is not None or owner is not None:
            raise PeopleUnknown("the accounts database")
    if who.user is None:
        raise Unauthenticated()
    limited = who.scope is not None and not who.publisher and not who.scope.covers(action, project)
    advice = access_advice(rules, who, action, project)
    raise Forbidden(who.user, action.value, project, limited, rules.index, advice)


def access_advice(rules: Rules, who: Identity, action: Action, project: ProjectName | None) -> str:
    """Return who can give the client the missing right, and how.

    It depends on the settings of the index, and on the owner of a project that the client may read;
    on no right of other users, and on no project that the client may not read.
    """
    user = account_of(who)
    if not user or action in (Action.ADMIN, Action.METRICS):
        return f"{ASK} for access."
    if rules.volatile and action in (Action.OVERWRITE, Action.DELETE):
        action = Action.WRITE
    if key := _excluding(rules, who, action):
        return f"{ASK} to add {user!r} to {_place(rules, user, key)}"
    way = _way_in(who, user, action, project)
    if action not in (Action.WRITE, Action.MANAGE) or not _knows_owner(rules, who, project):
        return f"{ASK} for access{way}"
    if rules.index:  # owners grant rights of projects in the default index only
        return f"The project has an owner in this index. {ASK} for access{way}"
    return f"The project has an owner: ask the owner or an administrator for access{way}"


def account_of(who: Identity) -> str:
    """Return the name of the account for which this identity acts; "" if there is none."""
    name = who.as_user if who.publisher else who.user
    return name if name is not None and is_account_name(name) else ""


def _excluding(rules: Rules, who: Identity, action: Action) -> str:
    """Return the key that excludes the client, whatever rights on a project say, or ""."""
    if action is Action.WRITE and not rules.admitted_writers.include(who):
        return "write"
    if not rules.admitted.include(who):
        return "read"
    key = _KEYS.get(action, "")
    return key if key and not getattr(rules, key).include(who) else ""


def _place(rules: Rules, user: str, key: str) -> str:
    """Return where an administrator adds the user to the key. The command does not contain the
    value: the client may not know it.
    """
    index = rules.index
    if not index or key not in ("read", "write", "delete"):
        return f"[access] {_SPELLED.get(key, key)}"
    if not rules.is_created:
        return f"[index:{index}] {key}"
    source = f"pypid index show {index}" if key in rules.own_keys else f"[access] {key}"
    value = quote(f"VALUE {user}")
    return f"the VALUE of `{key}` of this index ({source}): pypid index set {index} {key}={value}"


def _knows_owner(rules: Rules, who: Identity, project: ProjectName | None) -> bool:
    """Return whether the project has an owner, and the client may know that."""
    is_owned = project is not None and rules.owner_of(project) is not None
    return is_owned and may(rules, who, Action.READ, project)


def _way_in(who: Identity, user: str, action: Action, project: ProjectName | None) -> str:
    """Return the end of a sentence: the command that gives the user a right on the project."""
    if action is Action.MANAGE:
        return "."
    if who.publisher:
        return ": the rule of the trusted publisher does not allow it."
    key, right = ("write", "rw") if action in _CHANGES else ("read", "r")
    grant = f"pypid right grant {project or 'PROJECT'} {quote(user)} {right}"
    return f": {grant}" if project is not None else f": [access] {key}, or {grant}"


# Which projects a viewer may read: the decisions of `core.permissions`, for whole lists.


@frozen
class Visibility:
    """The set of projects that a viewer may read: viewers who see the same have equal values.

    Contains projects to which only the defaults apply if `usual`; of those that a glob matches, the
    ones whose glob is `shown`; `others` are the exceptions. For a token this holds only `within`
    some names, and beyond them `anyway` applies.
    """

    usual: bool
    others: frozenset[ProjectName]
    within: tuple[str, ...] | None = None
    anyway: Visibility | None = None
    shown: GlobTable[bool] | None = None
    """Whether the viewer may read the projects of each glob; None if `usual` applies to all globs.
    """
    bases: tuple[tuple[str, Visibility], ...] = ()
    """What the viewer may read in other indexes by name (empty: the default one), if their files
    may be on one page with those of this index.
    """

    def sees(self, name: ProjectName) -> bool:
        """Return whether the viewer may read this project."""
        if self.within is None or matches(name, self.within):
            return (name in self.others) != self._shows(name)
        return self.anyway is not None and self.anyway.sees(name)

    def _shows(self, name: ProjectName) -> bool:
        shown = None if self.shown is None else self.shown.of(name)
        return self.usual if shown is None else shown

    def check_base(self, index: str, name: ProjectName) -> None:
        """Raise `Unauthenticated` if the viewer may not read the project in this one of `bases`."""
        if any(base == index and not seen.sees(name) for base, seen in self.bases):
            raise Unauthenticated()

    def sees_bases(self, name: ProjectName) -> bool:
        """Return whether the viewer may read the project in all `bases`."""
        return all(seen.sees(name) for _, seen in self.bases)

    @property
    def sees_all(self) -> bool:
        """Whether nothing is hidden from the viewer."""
        return self.usual and not self.others and self.within is None and self.shown is None

    @property
    def has_patterns(self) -> bool:
        """Whether globs or a token decide about some names, besides `usual` and `others`."""
        return self.within is not None or self.shown is not None


EVERYTHING = Visibility(True, frozenset())
"""The visibility of an administrator."""
NOTHING = Visibility(False, frozenset())
"""The visibility of a client who may read no project."""


def without(by: Visibility, hidden: AbstractSet[ProjectName]) -> Visibility:
    """Return the visibility of a viewer who may read none of the projects `hidden` either."""
    if not hidden:
        return by
    inside = evolve(by, within=None)
    seen = [name for name in hidden if inside.sees(name)]
    anyway = None if by.anyway is None else without(by.anyway, hidden)
    return evolve(by, others=by.others.symmetric_difference(seen), anyway=anyway)


def visibility_of(rules: Rules, who: Identity) -> Visibility:
    """Return what `who` may read. Keep it: it takes microseconds for each project with rules."""
    scope = who.scope
    if scope is None:
        return _readable_by(rules, who)
    anyway = _readable_by(rules, ANONYMOUS)
    if Action.READ not in scope.actions:
        return anyway
    inside = (
        EVERYTHING if who.publisher and rules.admitted.include(who) else _readable_by(rules, who)
    )
    return (
        inside if scope.projects == ("*",) else evolve(inside, within=scope.projects, anyway=anyway)
    )


def _readable_by(rules: Rules, who: Identity) -> Visibility:
    if who.admin:
        return EVERYTHING
    if not rules.admitted.include(who):
        return NOTHING
    usual, globs, owned = rules.read.include(who), rules.projects.globs, rules.owned_by(who)
    by_glob = globs.map(lambda own: _reads(own, who))
    shown = None if all(seen is usual for seen in by_glob.values.values()) else by_glob
    default = Visibility(usual, frozenset(), shown=shown)
    others = [
        name
        for name, own in rules.projects.names.items()
        if (name in owned or _reads(own, who)) is not default.sees(name)
    ]
    others += [name for name in owned - rules.projects.names.keys() if not default.sees(name)]
    return evolve(default, others=frozenset(others))


def _reads(own: Grants, who: Identity) -> bool:
    # repeats `Principals.include`, to save calls for each of ten thousand rules
    user, groups, read = who.user, who.groups, own.read
    return (
        read.everyone
        or (
            user is not None
            and (read.authenticated or user in read.users or not groups.isdisjoint(read.groups))
        )
        or own.write.include(who)
    )
