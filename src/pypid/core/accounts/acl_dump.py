"""Read pypicloud's dump of users, groups and rights (``ppc-export``,
``/admin/acl.json.gz``). Pure.

Source: ``dump`` and ``load`` in pypicloud 1.3.12's ``access/base.py``. A rule that pypid cannot
express grants less here than there, never more; if a user loses a right by that, the oddity is
`grave`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec
from attrs import define, field, frozen

from pypid.core.accounts.acl_rights import AclRights, group_or_word, rights_in
from pypid.core.accounts.rights import Right, Whom
from pypid.core.errors import BadRequest, shortened
from pypid.core.permissions import account_name

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
    allow_register: bool = False


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
    """Return the JSON in `data`, gzipped or plain. Raises `BadRequest` for a damaged file and for
    one larger than `LARGEST`.
    """
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
    """Return the document in pypid's terms, as far as they can express it. Raises `BadRequest`
    beyond the limits.
    """
    if _count(document) > MOST:
        raise _too_large()
    judge = _Judge()
    users = judge.users(document)
    groups = judge.groups(document.groups)
    found = rights_in(
        document.packages.users, document.packages.groups, judge.named, frozenset(groups)
    )
    judge.found(found)
    if found.closed is not None:
        groups[found.closed] = frozenset()
    if not document.complete and not any(right.whom in MANY for right in found.rights):
        done = (
            "look at /admin/group/everyone and /admin/group/authenticated there, and give those "
            "rights (pypid right grant)"
        )
        judge.odd(
            "pypicloud leaves out of its dump what it gave to everyone and to authenticated", done
        )
    if document.allow_register:
        judge.odd(
            "allow_register is on",
            "whether people may register, [access] registration of the configuration says",
        )
    dump = Dump(
        users=tuple(sorted(users, key=lambda person: person.name)),
        groups=MappingProxyType(dict(sorted(groups.items()))),
        rights=found.rights,
        allow_register=document.allow_register,
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
            done = "nothing of it is taken over. Give it another name there, or make it again here"
            self.odd(
                f"the {kind} {shortened(ascii(name))} has a name that is not valid here ({error})",
                done,
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
                    done = (
                        "the first password counts, and what says less: waiting for approval, no "
                        "administrator"
                    )
                    self.odd(f"the user {person.name!r} is listed twice", done, grave=True)
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
                (
                    f"the password hash of {name!r} is of more than {LONGEST_HASH} characters, or "
                    "of odd ones"
                ),
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

    def found(self, found: AclRights) -> None:
        for what, done, grave in found.oddities:
            self.odd(what, done, grave=grave)
