"""Read pypicloud's dump of users, groups and rights (``ppc-export``,
``/admin/acl.json.gz``). Pure.

Source: ``dump`` and ``load`` in pypicloud 1.3.12's ``access/base.py``. A rule that pypid cannot
express grants less here than there, never more; if a user loses a right by that, the oddity is
`grave`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import count
from types import MappingProxyType

import msgspec
from attrs import define, field, frozen

from pypid.core.accounts.rights import NAMED, Right, Whom, sorted_rights
from pypid.core.errors import BadName, BadRequest, shortened
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import account_name

# Two of pypicloud's rules cannot be expressed here: that a user may write a package but not read
# it, and that a package has rules of its own which grant access to no user. The conversion never
# grants more than pypicloud did: see `_Judge.rights`.

KEPT_CLOSED = "kept-closed"
"""The group without members that keeps the defaults from applying to a project."""

Whose = tuple[Whom, str]
Spelled = Mapping[Whose, frozenset[str]]
"""The rights on a package under one spelling of its name."""


def group_or_word(name: str) -> Whom:
    """Return what pypicloud means by the name of a group: ``everyone`` and ``authenticated`` stand
    for many users, and ``admins`` is how a closed project is written there.
    """
    words = {whom.value: whom for whom in Whom if whom not in NAMED}
    return words.get(name, Whom.GROUP)


LARGEST = 64 << 20
"""Maximum bytes of JSON, packed or not: enough for some hundred thousand rights."""
MOST = 200_000
"""Maximum number of users, groups, members and rights together."""
LONGEST_NAME = 200
"""Maximum characters of a user's or group's name, as in the accounts database."""
LONGEST_HASH = 1000
KNOWN_HASHES = (
    *("$argon2id$", "$argon2i$", "$argon2d$", "$2a$", "$2b$", "$2y$"),
    *("$6$", "$5$", "$pbkdf2-sha512$", "$pbkdf2-sha256$", "$apr1$"),
)
"""Prefixes of the password hashes that work for logging in here (`access.passwords` verifies them).
"""
MANY = frozenset({Whom.EVERYONE, Whom.AUTHENTICATED})
TAKEN = frozenset({"anonymous", "operator"})
"""Names that the audit log uses for actors without an account."""
_GZIP = b"\x1f\x8b"


# --- documents ----------------------------------------------------------------------------------


@frozen(kw_only=True)
class DumpedPerson:
    """A user in the dump. The password hash does not appear in the repr."""

    name: str
    hash: str = field(repr=False)
    admin: bool = False
    pending: bool = False
    """Whether the user has registered and is not approved yet."""


@frozen(kw_only=True)
class Dump:
    """A dump in pypid's terms. Users and rights are sorted."""

    users: tuple[DumpedPerson, ...] = ()
    groups: Mapping[str, frozenset[str]] = MappingProxyType({})
    """The members of each group; not every member needs to be in `users`."""
    rights: tuple[Right, ...] = ()


@frozen
class Oddity:
    """Something in the dump that is not taken over unchanged. `grave`: a user loses a right by it;
    `wider`: a user gets a right that they had neither there nor here.
    """

    what: str
    done: str
    grave: bool = False
    wider: bool = False

    @property
    def text(self) -> str:
        """Return the oddity in one line."""
        return f"{self.what}: {self.done}"


@frozen
class ParsedAcl:
    """A dump and its oddities, each listed once."""

    dump: Dump
    oddities: tuple[Oddity, ...] = ()


# --- the format -----------------------------------------------------------------------------------


class DumpedUser(msgspec.Struct):
    """A user in the format. Users who authenticate with a directory have no password there."""

    username: str
    password: str | None = None
    admin: bool = False


class DumpedPackages(msgspec.Struct):
    """The rights: by package, then by user or group, ``read`` and ``write``."""

    users: dict[str, dict[str, list[str]]] = {}
    groups: dict[str, dict[str, list[str]]] = {}


class AclDocument(msgspec.Struct):
    """The whole document; unknown fields are ignored, as in pypicloud."""

    users: list[DumpedUser]
    groups: dict[str, list[str]] = {}
    packages: DumpedPackages = msgspec.field(default_factory=DumpedPackages)
    pending_users: list[DumpedUser] = []
    allow_register: bool = False
    complete: bool = False
    """Whether it has the rights of everyone and authenticated, which pypicloud leaves out."""


def read_dump(data: bytes) -> ParsedAcl:
    """Return the dump in `data`, gzipped or plain. Raises `BadRequest` if it is not a dump or
    exceeds the limits.

    The error never quotes a value of the dump, because a dump contains password hashes.
    """
    try:
        document = msgspec.json.decode(unpacked(data), type=AclDocument)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(
            f"The file is not a dump of pypicloud's users as ppc-export writes it: {error}."
        ) from None
    except RecursionError:
        raise BadRequest(
            "The file is not a dump of pypicloud's users as ppc-export writes it: it is nested too "
            "deeply."
        ) from None
    return taken(document)


def unpacked(data: bytes) -> bytes:
    """Return the JSON, gzipped or plain. Raises `BadRequest` for damage and above `LARGEST`."""
    text = _unpacked(data) if data.startswith(_GZIP) else data
    if len(text) > LARGEST:
        raise _too_large()
    return text


def _unpacked(data: bytes) -> bytes:
    """Return at most `LARGEST` + 1 bytes of the unpacked data."""
    reader = zlib.decompressobj(wbits=31)
    try:
        text = reader.decompress(data, LARGEST + 1)
    except zlib.error:
        raise BadRequest(
            "The file is not a dump of pypicloud's users: its gzip data is damaged."
        ) from None
    if len(text) <= LARGEST and (not reader.eof or reader.unused_data.strip(b"\0")):
        raise BadRequest(
            "The file is not a dump of pypicloud's users: its gzip data is cut off, or continues "
            "after its end."
        )
    return text


def _too_large() -> BadRequest:
    return BadRequest(
        f"The dump is larger than {LARGEST} bytes, or names more than {MOST} people, groups and "
        "rights."
    )


def taken(document: AclDocument) -> ParsedAcl:
    """Return the document in pypid's terms. Raises `BadRequest` beyond the limits."""
    if _count(document) > MOST:
        raise _too_large()
    judge = _Judge()
    users = judge.users(document)
    groups = judge.groups(document.groups)
    rights, closed = judge.rights(document.packages, groups.keys())
    if closed is not None:
        groups[closed] = frozenset()
    if not document.complete and not any(right.whom in MANY for right in rights):
        judge.odd(
            "pypicloud leaves out of its dump what it gave to everyone and to authenticated",
            "look at /admin/group/everyone and /admin/group/authenticated there, and give those "
            "rights (pypid right grant)",
        )
    if document.allow_register:
        judge.odd(
            "allow_register is on",
            "whether people may register, [access] registration of the configuration says",
        )
    dump = Dump(
        users=tuple(sorted(users, key=lambda person: person.name)),
        groups=MappingProxyType(dict(sorted(groups.items()))),
        rights=rights,
    )
    return ParsedAcl(dump, tuple(judge.oddities.values()))


def _count(document: AclDocument) -> int:
    packages = (document.packages.users, document.packages.groups)
    return (
        len(document.users)
        + len(document.pending_users)
        + len(document.groups)
        + sum(map(len, document.groups.values()))
        + sum(
            1 + sum(1 + len(words) for words in these.values())
            for kind in packages
            for these in kind.values()
        )
    )


@define
class _Judge:
    """Takes over what can be represented here and records the rest as oddities."""

    oddities: dict[str, Oddity] = field(factory=dict)

    def odd(self, what: str, done: str, *, grave: bool = False) -> None:
        """Record an oddity, once."""
        self.oddities.setdefault(what, Oddity(what, done, grave))

    def named(self, kind: str, name: str) -> bool:
        """Return whether a user or a group (`kind`) can have this name here."""
        try:
            account_name(name)
            if len(name) > LONGEST_NAME:
                raise ValueError(f"a name of a user or group has at most {LONGEST_NAME} characters")
            if kind == "user" and name in TAKEN:
                raise ValueError(f"{name!r} is what the audit log calls others by")
        except ValueError as error:
            self.odd(
                f"the {kind} {shortened(ascii(name))} has a name that is not valid here ({error})",
                "nothing of it is taken over. Give it another name there, or make it again here",
                grave=True,
            )
            return False
        return True

    def users(self, document: AclDocument) -> Iterator[DumpedPerson]:
        found: dict[str, DumpedPerson] = {}
        for pending, listed in ((False, document.users), (True, document.pending_users)):
            for user in listed:
                if not self.named("user", user.username):
                    continue
                person = self._person(user, pending=pending)
                if person is None:
                    continue
                before = found.get(person.name)
                if before is not None:
                    self.odd(
                        f"the user {person.name!r} is listed twice",
                        "the first password counts, and what says less: waiting for approval, no "
                        "administrator",
                        grave=True,
                    )
                    admin, waits = before.admin and person.admin, before.pending or person.pending
                    person = DumpedPerson(
                        name=before.name, hash=before.hash, admin=admin, pending=waits
                    )
                found[person.name] = person
        yield from found.values()

    def _person(self, user: DumpedUser, *, pending: bool) -> DumpedPerson | None:
        name, stored = user.username, user.password or ""
        if not stored:
            done = (
                "no account is made: another source, such as a directory, has to know the password"
            )
            if user.admin:
                done += "; to have an administrator, write the name into [access] admins"
            self.odd(f"the user {name!r} has no password there", done, grave=user.admin)
            return None
        if len(stored) > LONGEST_HASH or not stored.isprintable():
            done = "the account is made without a password. Give it one (pypid user set-password)"
            self.odd(
                f"the password hash of {name!r} is of more than {LONGEST_HASH} characters, or "
                "of odd ones",
                done,
                grave=True,
            )
            stored = ""
        elif not stored.startswith(KNOWN_HASHES):
            done = (
                "it is kept as it is, and the user cannot log in with it. Give the user a new "
                "password (pypid user set-password)"
            )
            self.odd(f"the password hash of {name!r} is of an unknown kind", done)
        return DumpedPerson(
            name=name, hash=stored, admin=user.admin and not pending, pending=pending
        )

    def groups(self, listed: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
        found = {}
        for name, members in listed.items():
            if group_or_word(name) is not Whom.GROUP:
                self.odd(
                    f"there is a group called {name!r}",
                    "its members are passed over: that word stands for many",
                )
            elif self.named("group", name):
                found[name] = frozenset(member for member in members if self.named("user", member))
        return found

    def rights(
        self, packages: DumpedPackages, groups: Set[str]
    ) -> tuple[tuple[Right, ...], str | None]:
        """Return the rights of all packages, sorted, and the name of the empty group that they
        need, if any; `groups` are the existing ones.

        A user or group that may write but not read gets nothing, unless all users who are logged in
        may read. If none of a package's rules can be expressed, the package is granted to a group
        without members, so that the defaults do not apply. For a package in several spellings, the
        rules of the normalised spelling apply, which is what installers request; without one, what
        all spellings grant.
        """
        rights: list[Right] = []
        closed_projects: list[ProjectName] = []
        for project, spellings in self._by_project(packages).items():
            rules = self._chosen(
                project, {spelling: these for spelling, these in spellings.items() if these}
            )
            found = list(self._of_project(project, rules))
            rights += found
            if not found and any(spellings.values()):
                closed_projects.append(project)
        closed = None
        if closed_projects:
            closed = _free_group(
                groups | {right.name for right in rights if right.whom is Whom.GROUP}
            )
            rights += self._close(closed_projects, closed)
        return sorted_rights(rights), closed

    def _by_project(self, packages: DumpedPackages) -> Mapping[ProjectName, Mapping[str, Spelled]]:
        """Return the rules of each project, by its spelling."""
        by_project: dict[ProjectName, dict[str, dict[Whose, frozenset[str]]]] = {}
        kinds = ((lambda _: Whom.USER, packages.users), (group_or_word, packages.groups))
        for whom_of, listed in kinds:
            for spelling, entries in listed.items():
                project = self._project(spelling)
                if project is None:
                    continue
                rules = by_project.setdefault(project, {}).setdefault(spelling, {})
                for name, words in entries.items():
                    whom = whom_of(name)
                    rules[whom, name if whom in NAMED else ""] = self._words(words)
        return by_project

    def _close(self, projects: Iterable[ProjectName], group: str) -> Iterator[Right]:
        """Yield the rights of the group without members that keeps the projects closed."""
        done = (
            f"only administrators may read it: its one right is of the group {group}, which has no "
            f"members"
        )
        for project in projects:
            self.odd(
                f"none of the rules of {project} can be expressed here, or they let no user in",
                done,
            )
            yield Right(project, Whom.GROUP, group)

    def _project(self, spelling: str) -> ProjectName | None:
        try:
            return project_name(spelling)
        except BadName:
            self.odd(
                f"no project can be called {shortened(ascii(spelling))}",
                "its rules are passed over: it has no files",
            )
            return None

    def _words(self, words: list[str]) -> frozenset[str]:
        for word in words:
            if word not in ("read", "write"):
                self.odd(
                    f"there is a right called {shortened(ascii(word))}",
                    "it is passed over: there are read and write",
                )
        return frozenset(words) & {"read", "write"}

    def _chosen(self, project: ProjectName, spellings: Mapping[str, Spelled]) -> Spelled:
        """Return the rules that apply, out of those under each spelling of the project's name."""
        shown = ", ".join(shortened(repr(spelling)) for spelling in sorted(spellings))
        match list(spellings.values()):
            case []:
                return {}
            case [only]:
                if project not in spellings:
                    self.odd(
                        f"there are rules of {shown}",
                        f"they are those of {project}, however it is spelled",
                    )
                return only
            case [first, *others] as every:
                common = {
                    whose: words.intersection(*(other[whose] for other in others))
                    for whose, words in first.items()
                    if all(whose in other for other in others)
                }
                rules = spellings.get(project, common)
                lost = any(
                    words - rules.get(whose, frozenset())
                    for each in every
                    for whose, words in each.items()
                )
                which = (
                    f"those of {project} hold"
                    if project in spellings
                    else "what all of them give holds"
                )
                self.odd(
                    f"{shown} are one project, and have rules of their own each", which, grave=lost
                )
                return rules
        raise AssertionError("there are no other lists")

    def _of_project(self, project: ProjectName, rules: Spelled) -> Iterator[Right]:
        everyone = "read" in rules.get((Whom.EVERYONE, ""), ())
        known = everyone or "read" in rules.get((Whom.AUTHENTICATED, ""), ())
        for (whom, name), words in rules.items():
            if whom in (Whom.USER, Whom.GROUP) and not self.named(whom.value, name):
                continue
            if "read" in words:
                yield Right(project, whom, name, "write" in words)
            elif "write" in words:
                holder = f"{whom.value} {name}".strip()
                all_read = everyone or (known and whom is not Whom.EVERYONE)
                if all_read:
                    self.odd(
                        f"{holder} may write {project}, without read",
                        "it is read and write: all may read it anyway",
                    )
                    yield Right(project, whom, name, True)
                else:
                    self.odd(
                        f"{holder} may write {project} and not read it",
                        "neither is taken over: here the right to write includes the right to "
                        "read. Grant both if you mean it (pypid right grant)",
                        grave=True,
                    )


def _free_group(used: Set[str]) -> str:
    """Return the name of a new group that keeps projects closed."""
    names = (KEPT_CLOSED if number == 1 else f"{KEPT_CLOSED}-{number}" for number in count(1))
    return next(name for name in names if name not in used)


# The result of merging a dump of pypicloud's users into existing accounts. Pure.

MOST_NAMED = 20
"""Maximum number of members named in one line."""


@frozen(kw_only=True)
class Merged:
    """The result of taking over a dump: how much of it was new."""

    users: tuple[str, ...] = ()
    """Users of the dump who had no account here."""
    there: int = 0
    """Number of users who had an account, which is unchanged."""
    groups: int = 0
    members: int = 0
    rights: int = 0
    weaker: tuple[str, ...] = ()
    """Users who are administrators or can log in according to the dump, but not here."""
    other: tuple[str, ...] = ()
    """Users who can do more here than in the dump."""
    stronger: tuple[Right, ...] = ()
    """Rights of the dump that are greater here."""
    wider: tuple[Oddity, ...] = ()
    """Oddities for users or groups that gain rights because a name here is also in the dump."""

    @property
    def changed(self) -> bool:
        """Whether the merge changed anything."""
        return bool(self.users or self.groups or self.members or self.rights)

    def oddities(self) -> Iterator[Oddity]:
        """Yield an oddity for each thing that differs from the dump after the merge."""
        for name in self.weaker:
            yield Oddity(
                f"the user {name!r} may do more by the dump than here",
                "the account that is here stays as it is: it waits, is disabled, or is no "
                "administrator's",
                grave=True,
            )
        for name in self.other:
            yield Oddity(
                f"the user {name!r} may do more here than by the dump",
                "the account that is here stays as it is",
            )
        for right in self.stronger:
            holder = f"{right.whom.value} {right.name}".strip()
            yield Oddity(
                f"{holder} may read {right.project} by the dump",
                "it may write it here, and that stays so",
            )
        yield from self.wider


def grown(group: str, members: Iterable[str]) -> Oddity:
    """Return the oddity for users who are in the group here, but not in the dump."""
    return Oddity(
        f"{_some(members)} in the group {group!r} here, and not by the dump",
        "they may do here what the dump gives to the group; take them out of it if that is not "
        "meant",
        wider=True,
    )


def entered(group: str, members: Iterable[str]) -> Oddity:
    """Return the oddity for users who come into a group that has more rights here than there."""
    return Oddity(
        f"{_some(members)} in the group {group!r} by the dump, and not here",
        "they may do now what is given to the group here; take them out of it if that is not meant",
        wider=True,
    )


def taken_up(name: str) -> Oddity:
    """Return the oddity for a new account whose name had rights here before the account existed."""
    return Oddity(
        f"the name {name!r} was given something here before it had an account",
        "the account has that now, too; take it away if it was meant for another person",
        wider=True,
    )


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - MOST_NAMED} more" if listed[MOST_NAMED:] else ""
    shown = " ".join(listed[:MOST_NAMED]) or "no users"
    return f"{shown}{more} {'is' if len(listed) == 1 else 'are'}"
