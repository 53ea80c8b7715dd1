"""A roll that was patched is the roll of what is there."""

from __future__ import annotations

from attrs import asdict
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.rights import Account, Right, Session, Token, Whom
from pypid.core.packaging.names import project_name
from pypid.database.account_state import AccountsState, Patch
from tests.support.accounts import a_session, a_token, an_account

NAMES = st.sampled_from(["a", "b", "c", "d"])
PROJECTS = st.sampled_from([project_name("spam"), project_name("ham")])


def maybe(value: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.dictionaries(NAMES, st.none() | value, max_size=3)


PATCHES = st.builds(
    lambda accounts, members, rights, tokens, sessions: Patch(
        serial=1,
        accounts={
            name: admin if admin is None else an_account(name, admin=admin)
            for name, admin in accounts.items()
        },
        members=members,
        rights={
            key: write if write is None else Right(*key, write) for key, write in rights.items()
        },
        tokens={
            id: digest if digest is None else a_token(id, digest=f"{digest}-{id}")
            for id, digest in tokens.items()
        },
        sessions={
            digest: user if user is None else a_session(digest, user)
            for digest, user in sessions.items()
        },
    ),
    maybe(st.booleans()),
    maybe(st.frozensets(NAMES)),
    st.dictionaries(
        st.tuples(PROJECTS, st.sampled_from(Whom), NAMES), st.none() | st.booleans(), max_size=3
    ),
    maybe(st.sampled_from(["x", "y"])),
    maybe(NAMES),
)


class RollTests(SynchronousTestCase):
    """`AccountsState.patched`."""

    @given(st.lists(PATCHES, max_size=6))
    @settings(max_examples=30, deadline=None, database=None)
    def test_patched(self, patches: list[Patch]) -> None:
        """Patch after patch, a roll is the one that is made of all that is there; what was not
        touched is the same object.
        """
        roll = AccountsState()
        accounts: dict[str, Account] = {}
        members: dict[str, frozenset[str]] = {}
        rights: dict[object, Right] = {}
        tokens: dict[str, Token] = {}
        sessions: dict[str, Session] = {}
        for patch in patches:
            before, roll = roll, roll.patched(patch)
            for held, changed in (
                (accounts, patch.accounts),
                (members, patch.members),
                (rights, patch.rights),
                (tokens, patch.tokens),
                (sessions, patch.sessions),
            ):
                for key, value in changed.items():  # type: ignore[attr-defined]
                    held.pop(key, None)  # type: ignore[attr-defined]
                    if value is not None:
                        held[key] = value  # type: ignore[index]
            for field in (
                "accounts",
                "members",
                "rights",
                "tokens",
                "sessions",
                "users",
                "groups",
                "by_digest",
            ):
                touched = {"users": "accounts", "groups": "members", "by_digest": "tokens"}.get(
                    field, field
                )
                if not getattr(patch, touched):
                    self.assertIs(getattr(roll, field), getattr(before, field))
        everything = Patch(
            serial=1,
            accounts=accounts,
            members=members,
            rights=rights,  # type: ignore[arg-type]
            tokens=tokens,
            sessions=sessions,
        )
        whole = AccountsState().patched(everything)
        self.assertEqual({**asdict(roll, recurse=False), "serial": 1}, asdict(whole, recurse=False))
        self.assertEqual(dict(roll.by_right), {right.key: right for right in rights.values()})
