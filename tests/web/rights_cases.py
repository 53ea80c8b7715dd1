"""People with every kind of right, and projects of every kind, for a whole pypid: for the tests of
who sees and does what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher
from attrs import frozen
from twisted.internet.error import ConnectionDone

from pypid.access.accounts import SqlAccounts
from pypid.access.chain import AccessChain, Source
from pypid.access.config import ConfigPeople, UsersSettings
from pypid.access.passwords import Verifier
from pypid.access.tokens import new_token
from pypid.core.accounts.rights import claimed, grants_of, parse_right
from pypid.core.configuration.choices import Mode
from pypid.core.indexes import IndexSettings
from pypid.core.permissions import EVERYONE, Action, Principals, Rules, Scope
from pypid.core.policy import Claims, Policy
from pypid.database.database import Database
from pypid.database.logs import SqlDownloads, SqlJournal
from pypid.database.places import SqliteFile
from pypid.flow import at_once
from pypid.web.app.app import Configured, Registry
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.support.engines import a_catalog
from tests.support.worlds import BEGINNING
from tests.web.app_with_registration import now
from tests.web.full_app import Answer, Papers, Pypid, basic, spelled
from tests.web.memory_upstream import Elsewhere

READ, WRITE, DELETE, FETCH = Action.READ, Action.WRITE, Action.DELETE, Action.FETCH

GROUPS = {
    "readers": frozenset({"carol"}),
    "writers": frozenset({"wendy", "dan"}),
    "deleters": frozenset({"dan"}),
}
USERS = ("bob", "rita", "carol", "wendy", "dan", "ada")
"""bob is in no group, rita is named by rules herself, ada is an admin."""


@frozen
class Who:
    """Somebody, and what they send to prove it."""

    name: str
    headers: tuple[tuple[str, str], ...] = ()


TOKENS = {
    name: new_token(
        lambda size, name=name: name.encode()[:1] * size,
        name=name,
        user=user,
        scope=Scope(frozenset(actions), projects),
        now=BEGINNING,
        publisher=publisher,
    )
    for name, user, actions, projects, publisher in (
        ("token to read", "wendy", (READ,), ("*",), False),
        ("other's token", "wendy", (READ, WRITE, DELETE, FETCH), ("other-*",), False),
        ("publisher", "github:acme/repo", (WRITE,), ("acme-*",), True),
    )
}
ANYBODY = (
    Who("anonymous"),
    *(Who(user, (basic(user, f"{user}'s"),)) for user in USERS),
    *(Who(name, (basic("__token__", secret),)) for name, (secret, _) in TOKENS.items()),
)
"""Somebody unknown; a user without rights; a reader by name, and one by group; a writer, and one
who may delete, by groups; an admin; tokens of the writer, to read all and to do all with other
projects; a trusted publisher of all these projects.
"""
IS = {who.name: who for who in ANYBODY}

# the names are of one length, so that answers can be compared to the byte
PLAIN, OWN, CLAIMED, THEIRS, LICENSED = (
    "acme-plain",
    "acme-owned",
    "acme-newer",
    "acme-there",
    "acme-taxed",
)
UNKNOWN = "acme-never"
RIGHTS = (
    (f"{OWN}.user.rita", "r"),
    (f"{OWN}.group.readers", "r"),
    (f"{OWN}.group.writers", "rw"),
    (f"{CLAIMED}.user.rita", "r"),
    (f"{CLAIMED}.group.readers", "r"),
    (f"{CLAIMED}.group.writers", "rw"),
    (f"{LICENSED}.user.rita", "r"),
    (f"{LICENSED}.group.readers", "r"),
)
"""`OWN` and `CLAIMED` are ours, of `CLAIMED` nothing is published yet; `LICENSED` is upstream's,
and for some only.
"""

WRITERS = Principals(groups=frozenset({"writers"}))
OPEN = Rules(
    read=EVERYONE,
    write=WRITERS,
    delete=Principals(groups=frozenset({"deleters"})),
    projects=grants_of(parse_right(key, value) for key, value in RIGHTS),
)
CLOSED = Rules(
    read=Principals(users=frozenset({"rita"}), groups=frozenset(GROUPS)),
    write=OPEN.write,
    delete=OPEN.delete,
    projects=OPEN.projects,
)
"""Who belongs to nobody reads nothing."""


@cache
def file_of(project: str) -> tuple[str, bytes]:
    """The file of ours, or of theirs, that the project has, or would have."""
    return wheel_filename(project, "1.0"), wheel(project, "1.0")


def elsewhere() -> Elsewhere:
    """Another index, which has projects of all these names, as an attacker would."""
    index = Elsewhere()
    for name in (PLAIN, OWN, CLAIMED, THEIRS, LICENSED):
        index.has(name, *file_of(name))
        index.has(name, sdist_filename(name, "99.0"), sdist(name, "99.0"))
    return index


@cache
def _hashes() -> Mapping[str, str]:
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return {user: hasher.hash(f"{user}'s") for user in USERS}


def crowded(
    spool: Path,
    upstream: Elsewhere,
    rules: Rules,
    mode: Mode = Mode.CACHE,
    serial: int = 0,
    *,
    indexes: Sequence[IndexSettings] | None = None,
) -> Pypid:
    """A pypid that knows them all; nothing is published yet. `serial`: the catalog's first one;
    `indexes`: see `Pypid`.
    """
    policy = Policy(mode=mode, claims=Claims(claimed(rules.projects)))
    catalog = a_catalog(serial)
    pypid = Pypid(
        spool, rules=rules, policy=policy, upstream=upstream, catalog=catalog, indexes=indexes
    )
    verifier = Verifier(pypid.world)
    people = ConfigPeople(
        UsersSettings(users=_hashes(), groups=GROUPS, state=spool), pypid.world, verifier
    )
    pypid.papers = Papers({token.digest: token for _, token in TOKENS.values()})
    pypid.access = AccessChain(
        [Source(people)], pypid.papers, pypid.world, verifier, admins=["ada"]
    )
    pypid.app.access = pypid.access
    return pypid


def register(pypid: Pypid, folder: Path) -> None:
    """Give it an accounts database, so that the routes for people answer, too."""
    database = Database(SqliteFile(folder / "accounts.db"), at_once, pypid.clock)
    accounts = SqlAccounts(database, pypid.world)
    now(accounts.current.open())

    async def hash_password(password: str) -> str:
        return next(iter(_hashes().values()))

    pypid.app.registry = Registry(
        accounts=accounts,
        journal=SqlJournal(database),
        downloads=SqlDownloads(database, pypid.world),
        find=pypid.access.find,
        hash_password=hash_password,
        new_token=lambda **said: new_token(pypid.world.random, **said),
        configured=lambda: Configured(
            users=frozenset(USERS), rights=tuple(parse_right(*right) for right in RIGHTS)
        ),
        session_key=bytes(32),
    )


def ask(
    pypid: Pypid, method: str, target: str, *headers: tuple[str, str], body: bytes | None = None
) -> Answer:
    """The answer to one request, on a connection that is gone then: thousands that stay open would
    take their time.
    """
    connection = pypid.connect()
    connection.send(spelled(method, target, *headers, body=body))
    answer = connection.answer(method)
    connection.lose(ConnectionDone())
    assert answer is not None, (method, target)
    return answer


def replace_rules(pypid: Pypid, rules: Rules) -> None:
    """As a reload, and every change of rights, does."""
    pypid.index.context.policy.claims.names = claimed(rules.projects)
    pypid.app.rules = rules
