"""State machines of hypothesis that compare stores with dicts, for the contracts."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

from attrs import evolve
from hypothesis import HealthCheck, settings, stateful
from hypothesis import strategies as st

from pypid.access.accounts import SqlAccounts
from pypid.core.accounts.rights import Account, Right, Whom
from pypid.core.errors import Exists, Missing, NameTaken, NoSuchGroup, NoSuchUser
from pypid.core.packaging.names import ProjectName, project_name
from pypid.database.engine import (
    CatalogRow,
    Conflict,
    Engine,
    Position,
    RowChange,
    RowContents,
    RowHead,
    RowKind,
    slices,
)
from pypid.flow import BytesBody, start, whole
from pypid.ports import Blobs
from tests.support.examples import SPAM, a_session, an_account
from tests.support.worlds import Awaiting, Fed, contents

T = TypeVar("T")
Opening: TypeAlias = Callable[[], Coroutine[Any, Any, T]]
"""Opens a store."""
LARGE = 8 << 20
"""Bytes that no blob of a contract has."""


def run_model(
    make: Callable[[], stateful.RuleBasedStateMachine], *, examples: int, steps: int
) -> None:
    """Run a state machine with so many series of at most so many steps."""
    modest = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    stateful.run_state_machine_as_test(make, settings=modest)  # type: ignore[arg-type]


async def read_rows(engine: Engine, since: Position, most: int = 1000) -> list[CatalogRow]:
    """Return the rows that changed since, read in slices of at most so many."""
    rows: list[CatalogRow] = []
    async for part in slices(engine, since, most):
        rows.extend(part.rows)
    return rows


# --- blobs ----------------------------------------------------------------------------------------

_keys = st.sampled_from(("a/b", "a-b", "a/c/d", "a/c-d", "\u00e4", "z/z"))


class BlobsModel(stateful.RuleBasedStateMachine):
    """Blobs compared with a dict."""

    def __init__(self, case: Awaiting, make: Opening[Blobs]) -> None:
        super().__init__()
        self.case = case
        self.blobs = case.have(make())
        self.expected: dict[str, bytes] = {}

    @stateful.rule(key=_keys, data=st.binary(max_size=40), replace=st.booleans())
    def write(self, key: str, data: bytes, replace: bool) -> None:
        if key in self.expected and not replace:
            self.case.refused(self.blobs.write(key, BytesBody(data)), Exists)
        else:
            self.case.have(self.blobs.write(key, BytesBody(data), replace=replace))
            self.expected[key] = data

    @stateful.rule(key=_keys, data=st.binary(max_size=40), replace=st.booleans())
    def fail(self, key: str, data: bytes, replace: bool) -> None:
        pieces: list[Any] = [data] if data else []
        body = Fed(*pieces, ConnectionResetError())
        error = self.case.failureResultOf(start(self.blobs.write(key, body, replace=replace))).value
        assert isinstance(error, (Exists, ConnectionResetError)), error
        assert body.closed

    @stateful.rule(key=_keys)
    def delete(self, key: str) -> None:
        self.case.have(self.blobs.delete(key))
        self.expected.pop(key, None)

    @stateful.rule(key=_keys)
    def read(self, key: str) -> None:
        if key in self.expected:
            assert self.case.have(self._read(key)) == self.expected[key]
        else:
            self.case.refused(self.blobs.read(key), Missing)

    @stateful.rule(prefix=st.sampled_from(("", "a", "a/", "a/c", "a-", "z/", "q")))
    def list(self, prefix: str) -> None:
        keys = sorted((key for key in self.expected if key.startswith(prefix)), key=str.encode)
        assert self.case.have(contents(self.blobs, prefix)) == keys

    async def _read(self, key: str) -> bytes:
        return await whole(await self.blobs.read(key), LARGE)


# --- catalog engines ------------------------------------------------------------------------------


def to_be(
    line: bytes | None,
    expected: int = 0,
    *,
    name: ProjectName = SPAM,
    kind: RowKind = RowKind.LOCAL,
    seen: bool = True,
) -> RowChange:
    """Return a change that gives the row this line."""
    head = None if line is None else RowHead()
    return RowChange(kind, name, expected, head, line or b"", seen=seen)


def row_of(
    kind: RowKind, name: ProjectName, version: int, serial: int, line: bytes | None
) -> CatalogRow:
    """Return the row with this line."""
    head = None if line is None else RowHead()
    return CatalogRow(kind, name, version, serial, head, len(line or b""))


_engine_names = st.sampled_from([project_name(text) for text in ("spam", "ham", "eggs")])
_engine_lines = st.sampled_from((b"one", b"two", b"\0three"))


class EngineModel(stateful.RuleBasedStateMachine):
    """Two engines on one place compared with a dict, and with a follower."""

    def __init__(self, case: Awaiting, engine: Engine, reopen: Opening[Engine]) -> None:
        super().__init__()
        self.case = case
        self.nodes = (engine, case.have(reopen()))
        self.state = case.have(engine.clear())
        self.rows: dict[tuple[RowKind, ProjectName], CatalogRow] = {}
        self.lines: dict[tuple[RowKind, ProjectName], bytes | None] = {}
        self.copy: dict[tuple[RowKind, ProjectName], CatalogRow] = {}
        self.position = self.state.beginning

    def teardown(self) -> None:
        self.case.have(self.nodes[1].close())

    @stateful.rule(
        node=st.integers(0, 1),
        kind=st.sampled_from(RowKind),
        name=_engine_names,
        line=_engine_lines | st.none(),
        seen=st.booleans(),
        stale=st.integers(0, 3),
    )
    def swap(
        self,
        node: int,
        kind: RowKind,
        name: ProjectName,
        line: bytes | None,
        seen: bool,
        stale: int,
    ) -> None:
        row = self.rows.get((kind, name))
        is_present = row is not None and row.head is not None
        expected = max(0, row.version - stale) if row is not None and is_present else stale
        if line is None and not expected:
            return
        result = self.case.have(
            self.nodes[node].swap(
                self.state.generation, to_be(line, expected, name=name, kind=kind, seen=seen)
            )
        )
        if expected != (row.version if row is not None and is_present else 0):
            is_done = row is not None and self.lines[kind, name] == line
            assert result == (row if is_done else Conflict())
        else:
            version, serial = self.state.version + 1, self.state.serial + seen
            changed = row_of(
                kind,
                name,
                version,
                serial if seen else row.serial if row is not None else 0,
                line,
            )
            assert result == changed
            self.rows[kind, name] = changed
            self.lines[kind, name] = line
            self.state = evolve(self.state, version=version, serial=serial)

    @stateful.rule(
        node=st.integers(0, 1),
        lines=st.dictionaries(st.tuples(st.sampled_from(RowKind), _engine_names), _engine_lines),
        is_stale=st.booleans(),
    )
    def swap_all(
        self, node: int, lines: dict[tuple[RowKind, ProjectName], bytes], is_stale: bool
    ) -> None:
        changes, serial = [], self.state.serial + 1
        expected: list[CatalogRow] = []
        state, rows = self.state, dict(self.rows)
        for (kind, name), line in lines.items():
            row = rows.get((kind, name))
            version = row.version if row is not None and row.head is not None else 0
            changes.append(to_be(line, version, name=name, kind=kind))
            state = evolve(state, version=state.version + 1, serial=serial)
            rows[kind, name] = row_of(kind, name, state.version, serial, line)
            expected.append(rows[kind, name])
        if is_stale:
            absent = ProjectName("absent")
            changes.append(to_be(b"one", 1, name=absent))
        result = self.case.have(self.nodes[node].swap_all(self.state.generation, changes))
        if is_stale:
            assert result == Conflict()
        else:
            assert result == expected
            self.state, self.rows = state, rows
            self.lines |= lines

    @stateful.rule(node=st.integers(0, 1))
    def follow(self, node: int) -> None:
        for row in self._changes(node, self.position, 2):
            assert row.version > self.position.version
            self.position = evolve(self.position, version=row.version)
            self.copy[row.kind, row.name] = row

    @stateful.rule()
    def read_all(self) -> None:
        assert self._changes(1, self.state.beginning) == sorted(
            self.rows.values(), key=lambda row: row.version
        )

    @stateful.invariant()
    def same(self) -> None:
        assert self.case.have(self.nodes[1].state()) == self.state
        for (kind, name), row in self.rows.items():
            found = self.case.have(self.nodes[0].row(self.state.generation, kind, name))
            line = self.lines[kind, name]
            assert found == (None if line is None else (row, RowContents(line)))

    @stateful.rule()
    def caught_up(self) -> None:
        self.follow(0)
        assert self.copy == self.rows

    def _changes(self, node: int, since: Position, most: int = 1000) -> list[CatalogRow]:
        return self.case.have(read_rows(self.nodes[node], since, most))


# --- accounts -------------------------------------------------------------------------------------

_users = st.sampled_from(["alice", "bob", "Bob", "zo\u00e9"])
_teams = st.sampled_from(["team", "alice"])
_projects = st.sampled_from([project_name("spam"), project_name("ham")])
_kinds = st.sampled_from([Whom.USER, Whom.GROUP])


class AccountsModel(stateful.RuleBasedStateMachine):
    """Accounts compared with dicts."""

    def __init__(
        self, case: Awaiting, make: Opening[SqlAccounts], reopen: Opening[SqlAccounts]
    ) -> None:
        super().__init__()
        self.case = case
        self.reopen = reopen
        self.accounts = case.have(make())
        self.users: dict[str, Account] = {}
        self.groups: dict[str, set[str]] = {}
        self.rights: dict[tuple[ProjectName, Whom, str], Right] = {}
        self.owners: dict[ProjectName, str] = {}
        self.sessions: dict[str, str] = {}
        self.made = 0

    @stateful.rule(name=_users, admin=st.booleans())
    def add_user(self, name: str, admin: bool) -> None:
        account = an_account(name, admin=admin)
        adding = self.accounts.add_user(account)
        if name in self.users:
            self.case.refused(adding, NameTaken)
            return
        self.case.have(adding)
        self.users[name] = account
        self.sessions = {digest: user for digest, user in self.sessions.items() if user != name}

    @stateful.rule(name=_users, hash=st.sampled_from(["$1", "$2"]))
    def edit_user(self, name: str, hash: str) -> None:
        editing = self.accounts.edit_user(name, lambda account: evolve(account, hash=hash))
        if name not in self.users:
            self.case.refused(editing, NoSuchUser)
            return
        if self.users[name].hash != hash:
            self.sessions = {digest: user for digest, user in self.sessions.items() if user != name}
        self.users[name] = self.case.have(editing)
        assert self.users[name].hash == hash

    @stateful.rule(name=_users)
    def remove_user(self, name: str) -> None:
        removing = self.accounts.remove_user(name)
        if name not in self.users:
            self.case.refused(removing, NoSuchUser)
            return
        self.case.have(removing)
        del self.users[name]
        for users in self.groups.values():
            users.discard(name)
        self._withdraw(*[key for key in self.rights if key[1:] == (Whom.USER, name)])
        self.sessions = {digest: user for digest, user in self.sessions.items() if user != name}

    @stateful.rule(group=_teams)
    def add_group(self, group: str) -> None:
        adding = self.accounts.add_group(group)
        if group in self.groups:
            self.case.refused(adding, NameTaken)
            return
        self.case.have(adding)
        self.groups[group] = set()

    @stateful.rule(group=_teams)
    def remove_group(self, group: str) -> None:
        removing = self.accounts.remove_group(group)
        if group not in self.groups:
            self.case.refused(removing, NoSuchGroup)
            return
        self.case.have(removing)
        del self.groups[group]
        self._withdraw(*[key for key in self.rights if key[1:] == (Whom.GROUP, group)])

    @stateful.rule(group=_teams, user=_users, joins=st.booleans())
    def join_or_leave(self, group: str, user: str, joins: bool) -> None:
        accounts = self.accounts
        doing = accounts.join(group, user) if joins else accounts.leave(group, user)
        if group not in self.groups:
            self.case.refused(doing, NoSuchGroup)
            return
        self.case.have(doing)
        (self.groups[group].add if joins else self.groups[group].discard)(user)

    @stateful.rule(
        project=_projects,
        whom=_kinds,
        name=st.one_of(_users, _teams),
        write=st.none() | st.booleans(),
    )
    def grant_or_withdraw(
        self, project: ProjectName, whom: Whom, name: str, write: bool | None
    ) -> None:
        if write is None:
            self.case.have(self.accounts.withdraw(project, whom, name))
            self._withdraw((project, whom, name))
            return
        right = Right(project, whom, name, write)
        self.case.have(self.accounts.grant(right))
        self.rights[project, whom, name] = right
        self.rights.pop((project, Whom.ADMINS, ""), None)

    def _withdraw(self, *keys: tuple[ProjectName, Whom, str]) -> None:
        """Remove rights; a project that had one and has none any more is closed."""
        for project in {key[0] for key in keys if self.rights.pop(key, None) is not None}:
            if not any(each == project for each, _, _ in self.rights):
                self.rights[project, Whom.ADMINS, ""] = Right(project, Whom.ADMINS, write=True)

    @stateful.rule(project=_projects)
    def open(self, project: ProjectName) -> None:
        self.case.have(self.accounts.withdraw(project, Whom.ADMINS, ""))
        self.rights.pop((project, Whom.ADMINS, ""), None)

    @stateful.rule(project=_projects, user=_users, by=st.sampled_from(["claim", "set", "none"]))
    def own(self, project: ProjectName, user: str, by: str) -> None:
        account = self.users[user].id if user in self.users else f"ldap:{user}"
        if by == "claim":
            owner = self.case.have(self.accounts.claim(("", project), account))
            assert owner == self.owners.setdefault(project, account)
            return
        chosen = account if by == "set" else None
        self.case.have(self.accounts.set_owner(("", project), chosen))
        self.owners.pop(project, None)
        if chosen is not None:
            self.owners[project] = chosen

    @stateful.rule(user=_users)
    def log_in(self, user: str) -> None:
        self.made += 1
        self.sessions[f"s{self.made}"] = user
        self.case.have(self.accounts.add_session(a_session(f"s{self.made}", user)))

    @stateful.rule()
    def restart(self) -> None:
        self.accounts = self.case.have(self.reopen())

    @stateful.invariant()
    def same(self) -> None:
        have, accounts = self.case.have, self.accounts
        assert list(have(accounts.users())) == [self.users[name] for name in sorted(self.users)]
        assert dict(have(accounts.memberships())) == {
            group: frozenset(users) for group, users in self.groups.items()
        }
        assert set(have(accounts.rights())) == set(self.rights.values())
        owners = {key: owner.account for key, owner in have(accounts.owners()).items()}
        assert owners == {("", project): account for project, account in self.owners.items()}
        for number in range(1, self.made + 1):
            session = have(accounts.session(f"s{number}"))
            assert (None if session is None else session.user) == self.sessions.get(f"s{number}")
