"""Changes of accounts, owners and whole imports, each in one transaction. Everything here
blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Any

from attrs import asdict, evolve, frozen
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)

from pypid.core.accounts.acl import (
    KEPT_CLOSED,
    Dump,
    DumpedPerson,
    Merged,
    Oddity,
    entered,
    grown,
    taken_up,
)
from pypid.core.accounts.rights import (
    CLAIM_LASTS,
    MOST_SESSIONS,
    Account,
    AccountStatus,
    OwnerKey,
    ProjectOwner,
    Right,
    Session,
    Token,
    Whom,
    account_id,
)
from pypid.core.errors import BadRequest, NameTaken, NoSuchGroup, NoSuchToken, NoSuchUser
from pypid.core.packaging.names import ProjectPattern
from pypid.database.account_rows import (
    AT_ONCE,
    PART,
    Touch,
    account_of,
    account_row,
    follow,
    right_row,
    token_of,
    token_row,
)
from pypid.database.account_state import KEPT, AccountsState
from pypid.database.account_tables import (
    changes,
    groups,
    id_of,
    members,
    once,
    owners,
    rights,
    sessions,
    set_id,
    take,
    tokens,
    users,
)


def _owner(key: OwnerKey) -> ColumnElement[bool]:
    return (owners.c.index == key[0]) & (owners.c.project == key[1])


# Import of the users, groups and rights of a pypicloud, as one change. Everything here blocks.
#
# Existing entries stay as they are: only what is missing is added.

FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)
"""Expiry of the mark that a pypicloud's users were imported."""


def merge(
    connection: Connection, now: datetime, dump: Dump, touch: Callable[[Touch], None]
) -> Merged:
    """Add what is missing here; return what was added. Raises `BadRequest` if a group that must be
    empty has members here.
    """
    before = {row.name: row for row in connection.execute(select(users))}
    here = _Here.of(connection)
    added = [dumped_account(person, now) for person in dump.users if person.name not in before]
    _insert(connection, users, [account_row(account) for account in added])
    for account in added:
        touch(Touch("user", account.name))
    new_groups, joined = _groups(connection, dump, touch)
    granted, stronger = _rights(connection, dump.rights, touch)
    weaker, other = [], []
    for person in dump.users:
        row = before.get(person.name)
        if row is None:
            continue
        if (person.admin and not row.admin) or (
            not person.pending and row.standing != AccountStatus.ACTIVE.value
        ):
            weaker.append(person.name)
        elif row.admin != person.admin or (
            person.pending and row.standing == AccountStatus.ACTIVE.value
        ):
            other.append(person.name)
    return Merged(
        users=tuple(account.name for account in added),
        there=len(dump.users) - len(added),
        groups=new_groups,
        members=joined,
        rights=granted,
        weaker=tuple(weaker),
        other=tuple(other),
        stronger=tuple(stronger),
        wider=tuple(here.wider(dump, {account.name for account in added})),
    )


@frozen
class _Here:
    """The state before the import: groups with their members, and rights, by name of the group or
    user that has them.
    """

    members: Mapping[str, frozenset[str]]
    granted: Mapping[tuple[str, str], frozenset[tuple[str, bool]]]

    @classmethod
    def of(cls, connection: Connection) -> _Here:
        in_groups: dict[str, set[str]] = {
            name: set() for name in connection.scalars(select(groups.c.name))
        }
        for row in connection.execute(select(members)):
            in_groups.setdefault(row.group, set()).add(row.user)
        granted: dict[tuple[str, str], set[tuple[str, bool]]] = {}
        for row in connection.execute(select(rights)):
            granted.setdefault((row.whom, row.name), set()).add((row.project, row.write))
        return cls(
            {name: frozenset(those) for name, those in in_groups.items()},
            {whose: frozenset(those) for whose, those in granted.items()},
        )

    def wider(self, dump: Dump, added: Set[str]) -> Iterator[Oddity]:
        """Yield the users who get rights that they had neither there nor here, because a name there
        and one here are equal.
        """
        by_dump: dict[tuple[str, str], set[tuple[str, bool]]] = {}
        for right in dump.rights:
            by_dump.setdefault((right.whom.value, right.name), set()).add(
                (right.project, right.write)
            )
        for name in sorted(self.members.keys() | dump.groups.keys()):
            dumped, present = (
                dump.groups.get(name, frozenset()),
                self.members.get(name, frozenset()),
            )
            there, here = (
                by_dump.get((Whom.GROUP.value, name), set()),
                self.granted.get((Whom.GROUP.value, name), frozenset()),
            )
            if present - dumped and _more(there, here):
                yield grown(name, present - dumped)
            if dumped - present and _more(here, there):
                yield entered(name, dumped - present)
        in_some = frozenset[str]().union(
            *(those - dump.groups.get(name, frozenset()) for name, those in self.members.items())
        )
        for name in sorted(added):
            whose = (Whom.USER.value, name)
            if name in in_some or _more(
                self.granted.get(whose, frozenset()), by_dump.get(whose, set())
            ):
                yield taken_up(name)


def _more(these: Set[tuple[str, bool]], those: Set[tuple[str, bool]]) -> bool:
    """Return whether the first set (projects, and whether they may be written) gives more than the
    second in some project.
    """
    return any(
        (project, write) not in those and (project, True) not in those for project, write in these
    )


def dumped_account(person: DumpedPerson, now: datetime) -> Account:
    """Return the account for a user of the dump."""
    status = AccountStatus.PENDING if person.pending else AccountStatus.ACTIVE
    return Account(
        name=person.name,
        hash=person.hash,
        admin=person.admin,
        status=status,
        created=now,
        changed=now,
    )


def _groups(connection: Connection, dump: Dump, touch: Callable[[Touch], None]) -> tuple[int, int]:
    """Add missing groups and members; return the number of each."""
    there = set(connection.scalars(select(groups.c.name)))
    fresh = sorted(dump.groups.keys() - there)
    _insert(connection, groups, [{"name": name} for name in fresh])
    held = {(row.group, row.user) for row in connection.execute(select(members))}
    for name, those in dump.groups.items():
        if name.startswith(KEPT_CLOSED) and not those and any(group == name for group, _ in held):
            raise BadRequest(
                f"The group {name!r} has members here, and has to be empty: it keeps projects "
                "closed. Take its members out, or rename it, and try again. Nothing was done."
            )
    wanted = {(group, user) for group, those in dump.groups.items() for user in those}
    joining = sorted(wanted - held)
    _insert(connection, members, [{"group": group, "user": user} for group, user in joining])
    for name in {*fresh, *(group for group, _ in joining)}:
        touch(Touch("group", name))
    return len(fresh), len(joining)


def _rights(
    connection: Connection, wanted: Iterable[Right], touch: Callable[[Touch], None]
) -> tuple[int, list[Right]]:
    """Add missing rights; return the number of those added or extended, and those that are greater
    here than in the dump, and stay so.
    """
    held = {
        (row.project, row.whom, row.name): row.write for row in connection.execute(select(rights))
    }
    fresh, greater, stronger = [], [], []
    for right in wanted:
        key = (right.project, right.whom.value, right.name)
        if key not in held:
            fresh.append(right)
        elif right.write and not held[key]:
            greater.append(right)
        elif held[key] and not right.write:
            stronger.append(right)
    for right in greater:
        this = _right(right.project, right.whom, right.name)
        connection.execute(update(rights).where(this).values(write=True))
    _insert(connection, rights, [right_row(right) for right in fresh])
    for right in (*fresh, *greater):
        touch(Touch("right", right.project, right.whom.value, right.name))
    return len(fresh) + len(greater), stronger


def _insert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    for begin in range(0, len(rows), AT_ONCE):
        connection.execute(insert(table), rows[begin : begin + AT_ONCE])


# --- once and never again -------------------------------------------------------------------------


def is_marked(connection: Connection, digest: str) -> bool:
    """Return whether there is the mark that users were imported."""
    return (
        connection.execute(select(once.c.digest).where(once.c.digest == digest)).first() is not None
    )


def is_empty(connection: Connection) -> bool:
    """Return whether there are no users, groups, members and rights."""
    return all(
        connection.execute(select(table).limit(1)).first() is None
        for table in (users, groups, members, rights)
    )


MOST_CHANGES = 10_000
"""The last changes whose touched keys are stored."""


class AccountsWriter:
    """One transaction that changes the accounts. It is the only one, on all nodes: it has taken the
    serial.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self.touched: set[Touch] = set()

    def _has(self, condition: ColumnElement[bool]) -> bool:
        return bool(self._connection.scalar(select(select(1).where(condition).exists())))

    def _touch(self, kind: str, *keys: str) -> None:
        self.touched.add(Touch(kind, *keys))

    # --- users ---

    def add_user(self, account: Account) -> None:
        """Add a user. Raises `NameTaken`."""
        if self._has(users.c.name == account.name):
            raise NameTaken(account.name)
        self._connection.execute(insert(users).values(account_row(account)))
        self._touch("user", account.name)
        # these belong to a user of another source with this name, who may be another person
        self._revoke(account.name)
        self._end_sessions(sessions.c.user == account.name)

    def take_over(self, account: Account) -> None:
        """Store the account of a user whom the configuration had, with what that user has: tokens,
        sessions, projects. It replaces another account of the name.
        """
        row = self._connection.execute(select(users).where(users.c.name == account.name))
        former = {account_of(each).id for each in row}
        if account.id in former:  # another process was faster
            return
        self._connection.execute(delete(users).where(users.c.name == account.name))
        self._connection.execute(insert(users).values(account_row(account)))
        self._touch("user", account.name)
        held_by_user = owners.c.account.in_({account_id("config", account.name), *former})
        self._touch_owners(held_by_user)
        self._connection.execute(update(owners).where(held_by_user).values(account=account.id))

    def edit_user(self, name: str, change: Callable[[Account], Account]) -> Account:
        """Replace the user's account by the result of `change`; return it. Raises `NoSuchUser`,
        `ValueError` for another name, and what `change` raises.
        """
        old = self._user(name)
        new = change(old)
        if new.name != name:
            raise ValueError("an account keeps its name")
        if new == old:
            return old
        if new.changed == old.changed and _matter(new) != _matter(old):
            new = evolve(new, changed=max(self._now, old.changed))
        self._connection.execute(update(users).where(users.c.name == name).values(account_row(new)))
        self._touch("user", name)
        if new.hash != old.hash or new.status is not AccountStatus.ACTIVE:
            self._end_sessions(sessions.c.user == name)
        if new.status is not AccountStatus.ACTIVE:
            self._revoke(name)
        return new

    def _user(self, name: str) -> Account:
        row = self._connection.execute(select(users).where(users.c.name == name)).one_or_none()
        if row is None:
            raise NoSuchUser(name)
        return account_of(row)

    def rehash(self, name: str, old: str, new: str) -> None:
        """Replace the hash by another one of the same password, unless the password has changed. No
        session ends by it.
        """
        condition = (users.c.name == name) & (users.c.hash == old)
        if self._connection.execute(update(users).where(condition).values(hash=new)).rowcount:
            self._touch("user", name)

    def remove_user(self, name: str) -> None:
        """Remove the user, with memberships, rights, tokens and sessions. The account stays the
        owner of its projects: without one, the defaults would apply to them. Raises `NoSuchUser`.
        """
        self._user(name)
        for group in self._connection.scalars(
            select(members.c.group).where(members.c.user == name)
        ):
            self._touch("group", group)
        self._connection.execute(delete(members).where(members.c.user == name))
        self._withdraw((rights.c.whom == Whom.USER.value) & (rights.c.name == name))
        self._remove_tokens((tokens.c.user == name) & ~tokens.c.publisher)
        self._end_sessions(sessions.c.user == name)
        self._connection.execute(delete(users).where(users.c.name == name))
        self._touch("user", name)

    def merge(self, dump: Dump) -> Merged:
        """Add what is missing here. Raises as `import_people.merge`."""
        merged = merge(self._connection, self._now, dump, self.touched.add)
        tokened = {
            *self._connection.scalars(select(tokens.c.user)),
            *self._connection.scalars(select(sessions.c.user)),
        }
        for name in tokened.intersection(merged.users):  # as in `add_user`
            self._revoke(name)
            self._end_sessions(sessions.c.user == name)
        return merged

    def inherit(self, dump: Dump, digest: str) -> Merged | None:
        """Merge the dump if there are no users yet and nothing was ever inherited; else return
        None, and change nothing.
        """
        if not is_empty(self._connection) or is_marked(self._connection, digest):
            return None
        self._connection.execute(insert(once).values(digest=digest, until=FOR_EVER))
        return self.merge(dump)

    # --- groups and rights ---

    def add_group(self, name: str) -> None:
        """Add a group. Raises `NameTaken`."""
        if self._has(groups.c.name == name):
            raise NameTaken(name)
        self._connection.execute(insert(groups).values(name=name))
        self._touch("group", name)

    def remove_group(self, name: str) -> None:
        """Remove the group, with its members and rights. Raises `NoSuchGroup`."""
        self._group(name)
        self._connection.execute(delete(members).where(members.c.group == name))
        self._withdraw((rights.c.whom == Whom.GROUP.value) & (rights.c.name == name))
        self._connection.execute(delete(groups).where(groups.c.name == name))
        self._touch("group", name)

    def _group(self, name: str) -> None:
        if not self._has(groups.c.name == name):
            raise NoSuchGroup(name)

    def join(self, group: str, user: str) -> None:
        """Add a member. Raises `NoSuchGroup`."""
        self._group(group)
        if not self._has((members.c.group == group) & (members.c.user == user)):
            self._connection.execute(insert(members).values(group=group, user=user))
            self._touch("group", group)

    def leave(self, group: str, user: str) -> None:
        """Remove a member. Raises `NoSuchGroup`."""
        self._group(group)
        condition = (members.c.group == group) & (members.c.user == user)
        if self._connection.execute(delete(members).where(condition)).rowcount:
            self._touch("group", group)

    def grant(self, right: Right) -> None:
        """Store the right, in place of another one of the same project, kind and name, and of the
        one that closed the project.
        """
        key = _right(right.project, right.whom, right.name)
        if self._has(key & (rights.c.write == right.write)):
            return
        self._connection.execute(delete(rights).where(key))
        self._connection.execute(insert(rights).values(right_row(right)))
        self._touch("right", right.project, right.whom.value, right.name)
        if right.whom is not Whom.ADMINS:
            self._remove_rights(_right(right.project, Whom.ADMINS, ""))

    def withdraw(self, project: ProjectPattern, whom: Whom, name: str) -> None:
        """Remove the right, if it exists. A project without any other right is closed, unless it
        was the right that closed it: then the defaults apply.
        """
        if whom is Whom.ADMINS:
            self._remove_rights(_right(project, whom, name))
        else:
            self._withdraw(_right(project, whom, name))

    def _withdraw(self, condition: ColumnElement[bool]) -> None:
        """Remove rights, and close the projects that have no other ones."""
        self.close_projects(self._remove_rights(condition))

    def close_projects(self, projects: Iterable[ProjectPattern]) -> list[ProjectPattern]:
        """Leave to administrators the projects that have no rights; return these."""
        lost = [each for each in sorted(projects) if not self._has(rights.c.project == each)]
        for project in lost:
            self.grant(Right(project, Whom.ADMINS, write=True))
        return lost

    def _remove_rights(self, condition: ColumnElement[bool]) -> set[ProjectPattern]:
        """Remove rights; return their projects."""
        found = self._connection.execute(select(rights).where(condition)).all()
        for row in found:
            self._touch("right", row.project, row.whom, row.name)
        self._connection.execute(delete(rights).where(condition))
        return {row.project for row in found}

    # --- owners ---

    def claim_owner(self, key: OwnerKey, account: str) -> str:
        """Make the account the owner of a project of which nothing is published; return the account
        that owns it then, which is another one if that was first. An empty `account` cannot own a
        project; it only removes an old claim.
        """
        row = self._connection.execute(select(owners).where(_owner(key))).one_or_none()
        if row is not None:
            is_own = row.account == account
            lasts = CLAIM_LASTS / 2 if is_own else CLAIM_LASTS
            if not row.claimed or self._now - row.since < lasts:
                owner: str = row.account
                return owner
        if account or row is not None:
            self._store_owner(key, account or None, is_claimed=True)
        return account

    def set_owner(self, key: OwnerKey, account: str | None) -> None:
        """Store the owner in place of another one; None: the project has no owner."""
        self._store_owner(key, account, is_claimed=False)

    def _store_owner(self, key: OwnerKey, account: str | None, *, is_claimed: bool) -> None:
        self._connection.execute(delete(owners).where(_owner(key)))
        self._touch("owner", key[1], "", key[0])
        if account is not None:
            index, project = key
            row = {"index": index, "project": project, "account": account}
            since = {"since": self._now, "claimed": is_claimed}
            self._connection.execute(insert(owners).values(row | since))

    def give_back_owners(self, lost: Mapping[OwnerKey, ProjectOwner]) -> None:
        """Store the owners of those projects that have none."""
        for key, owner in lost.items():
            if self._connection.execute(select(owners).where(_owner(key))).one_or_none() is None:
                self._store_owner(key, owner.account, is_claimed=owner.is_claimed)

    def remove_owners(self, index: str) -> None:
        """Remove the owners of all projects of an index."""
        self._touch_owners(owners.c.index == index)
        self._connection.execute(delete(owners).where(owners.c.index == index))

    def _touch_owners(self, condition: ColumnElement[bool]) -> None:
        keys = select(owners.c.index, owners.c.project).where(condition)
        for index, project in self._connection.execute(keys):
            self._touch("owner", project, "", index)

    # --- tokens and sessions ---

    def add_token(self, token: Token) -> None:
        """Add a token. Its id and digest are random, and so new."""
        self._connection.execute(insert(tokens).values(token_row(token)))
        self._touch("token", token.id)

    def revoke_token(self, id: str) -> Token:
        """Revoke the token; return it. Raises `NoSuchToken`."""
        row = self._connection.execute(select(tokens).where(tokens.c.id == id)).one_or_none()
        if row is None:
            raise NoSuchToken(id)
        token = token_of(row)
        if token.revoked is not None:
            return token
        self._connection.execute(update(tokens).where(tokens.c.id == id).values(revoked=self._now))
        self._touch("token", id)
        return evolve(token, revoked=self._now)

    def _revoke(self, user: str) -> None:
        condition = (tokens.c.user == user) & ~tokens.c.publisher & tokens.c.revoked.is_(None)
        for id in self._connection.scalars(select(tokens.c.id).where(condition)):
            self._touch("token", id)
        self._connection.execute(update(tokens).where(condition).values(revoked=self._now))

    def _remove_tokens(self, condition: ColumnElement[bool]) -> None:
        for id in self._connection.scalars(select(tokens.c.id).where(condition)):
            self._touch("token", id)
        self._connection.execute(delete(tokens).where(condition))

    def tokens_used(self, uses: Mapping[str, tuple[datetime, str]]) -> None:
        """Store when and from which address tokens were used last, by id."""
        later = or_(tokens.c.used.is_(None), tokens.c.used < bindparam("when"))
        one = update(tokens).where((tokens.c.id == bindparam("token")) & later)
        for id, (when, address) in uses.items():
            values = {"used": when, "used_from": address}
            if self._connection.execute(one.values(values), {"token": id, "when": when}).rowcount:
                self._touch("token", id)

    def add_session(self, session: Session) -> None:
        """Add a session, and end the user's oldest beyond `MOST_SESSIONS`. Its digest is random,
        and so new.
        """
        digests = select(sessions.c.digest).where(sessions.c.user == session.user)
        newest = digests.order_by(sessions.c.created.desc(), sessions.c.digest)
        for digest in self._connection.scalars(newest.offset(MOST_SESSIONS - 1)).all():
            self.end_session(digest)
        self._connection.execute(insert(sessions).values(asdict(session)))
        self._touch("session", session.digest)

    def end_session(self, digest: str) -> None:
        """End the session, if it exists."""
        self._end_sessions(sessions.c.digest == digest)

    def _end_sessions(self, condition: ColumnElement[bool]) -> None:
        for digest in self._connection.scalars(select(sessions.c.digest).where(condition)):
            self._touch("session", digest)
        self._connection.execute(delete(sessions).where(condition))

    # --- tidying up ---

    def sweep(self) -> None:
        """Remove sessions that have ended, and tokens that ended a month ago."""
        self._end_sessions(sessions.c.expires <= self._now)
        month = self._now - KEPT
        self._remove_tokens(or_(tokens.c.expires <= month, tokens.c.revoked <= month))


def _matter(account: Account) -> tuple[Any, ...]:
    return account.hash, account.admin, account.status


def _right(project: ProjectPattern, whom: Whom, name: str) -> ColumnElement[bool]:
    return (rights.c.project == project) & (rights.c.whom == whom.value) & (rights.c.name == name)


def change(
    connection: Connection,
    state: AccountsState | None,
    now: datetime,
    work: Callable[[AccountsWriter], Any],
) -> tuple[Any, AccountsState]:
    """Run `work`; return its result, and the state after it. `state` is the one before it, None if
    unknown.

    If `work` touched nothing, the serial stays as it was. Raises what `work` raises,
    `DatabaseUnusable`.
    """
    serial = take(connection, PART)
    writing = AccountsWriter(connection, now)
    done = work(writing)
    if not writing.touched:
        take(connection, PART, -1)
        now_there = follow(connection, state)
        if (transaction := connection.get_transaction()) is not None:
            # the file stays the same to the byte, so that no backup copies it
            transaction.rollback()
        return done, now_there
    _insert(connection, changes, [asdict(touch) | {"serial": serial} for touch in writing.touched])
    return done, follow(connection, state)


def identify(connection: Connection, id: int) -> int:
    """Return the id of the accounts, which is `id` from now on if they had none."""
    take(connection, PART)  # other nodes read everything again
    set_id(connection, id_of(connection) or id)
    return id_of(connection)


def use_once(connection: Connection, digest: str, until: datetime, now: datetime) -> bool:
    """Store the digest until `until`; return False if it was stored already, and not only until
    `now`.
    """
    take(connection, PART, 0)
    connection.execute(delete(once).where((once.c.digest == digest) & (once.c.until <= now)))
    if connection.scalar(select(select(1).where(once.c.digest == digest).exists())):
        return False
    connection.execute(insert(once).values(digest=digest, until=until))
    return True


def forget(connection: Connection, now: datetime) -> None:
    """Remove used-once values that have expired, and the touched keys of old changes."""
    serial = take(connection, PART, 0)
    connection.execute(delete(once).where(once.c.until <= now))
    connection.execute(delete(changes).where(changes.c.serial <= serial - MOST_CHANGES))
