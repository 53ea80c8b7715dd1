"""The users of the accounts database keep what every source of people keeps, and the chain takes
them for such.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from pypid.access.accounts import SqlPeople
from pypid.access.chain import AccessChain, Source
from pypid.access.config import ConfigPeople, UsersSettings
from pypid.access.passwords import Verifier
from pypid.core.errors import Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.ports import People
from tests.database.sqlite import InFiles
from tests.database.test_people import CHEAP
from tests.support.accounts import an_account
from tests.support.people import PeopleContract


class ContractTests(PeopleContract, InFiles, TestCase):
    """The contract, over sqlite."""

    strangers = True

    async def make_people(
        self, users: Mapping[str, str], groups: Mapping[str, frozenset[str]], admin: str
    ) -> People:
        accounts = self.new_accounts()
        for name, password in users.items():
            await accounts.add_user(
                an_account(name, hash=CHEAP.hash(password), admin=name == admin)
            )
        for group, members in groups.items():
            await accounts.add_group(group)
            for member in members:
                await accounts.join(group, member)
        return SqlPeople(accounts, Verifier(self.world), self.world)


class ChainTests(InFiles, SynchronousTestCase):
    """Behind the configuration."""

    def setUp(self) -> None:
        super().setUp()
        self.accounts = self.new_accounts()
        self.verifier = Verifier(self.world)
        config = ConfigPeople(
            UsersSettings(users={"root": CHEAP.hash("r")}, state=Path()), self.world, self.verifier
        )
        sources = [Source(config), Source(SqlPeople(self.accounts, self.verifier, self.world))]
        self.chain = AccessChain(sources, self.accounts, self.world, self.verifier, admins=["root"])
        self.have(self.accounts.add_user(an_account("alice", hash=CHEAP.hash("a"))))

    def test_configuration_first(self) -> None:
        """A user of the configuration's name in the database is nobody: not with its password, and
        not its admin flag.
        """
        self.have(self.accounts.add_user(an_account("root", hash=CHEAP.hash("other"), admin=True)))
        self.refused(self.chain.identify(Credential("root", "other")), Unauthenticated)
        self.chain.admins = frozenset()
        self.assertEqual(self.have(self.chain.identify(Credential("root", "r"))), Identity("root"))
