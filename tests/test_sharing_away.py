"""Who gets in while neither the shared catalog nor the accounts can be asked."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from pypid.access.passwords import hash_password
from pypid.access.tokens import PREFIX
from pypid.core.accounts.rights import TOKEN_USER
from pypid.core.errors import PeopleUnknown, Unauthenticated
from pypid.core.permissions import Credential
from pypid.daemon.identities import OtherNodes
from pypid.flow import start
from pypid.wiring.platform import load_config
from tests.daemon.test_identities import made_identities
from tests.live.processes import free_port
from tests.support.worlds import world


class Silent(OtherNodes):
    """Nodes that cannot report anything."""

    def reported_until(self) -> float:
        return 0.0


class AwayTests(TestCase):
    """A PostgreSQL that holds both."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        (self.folder / "state").mkdir(parents=True)
        self.clock = Clock()

    def test_all_away(self) -> Deferred[None]:
        """Catalog and accounts are away together, as in one PostgreSQL: the configuration's
        administrators get in.
        """

        async def work() -> None:
            path = self.folder / "pypid.ini"
            users = "".join(f"{name} = {hash_password('right')}\n" for name in ("carol", "dave"))
            path.write_text(
                "[server]\nstate = state\n[access]\nbackend = config sql\nadmins = carol\n"
                f"[database]\nurl = postgresql://pypid@127.0.0.1:{free_port()}/pypid\n[users]\n{users}"
            )
            config = load_config(path)
            people = made_identities(config, world(self.clock), nodes=Silent())
            await people.open()
            try:
                current = people.stores.accounts.current
                current._heard = self.clock.seconds()  # it went away just now
                carol = await people.access.identify(Credential("carol", "right", "192.0.2.1"))
                self.assertEqual((carol.user, carol.admin), ("carol", True))
                for user, password in ("dave", "right"), (TOKEN_USER, PREFIX + "a" * 43):
                    with self.assertRaises(PeopleUnknown):
                        await people.access.identify(Credential(user, password, "192.0.2.1"))
                with self.assertRaises(Unauthenticated):
                    await people.access.identify(Credential("carol", "wrong", "192.0.2.1"))
                self.assertLess(current.until, self.clock.seconds())
            finally:
                await people.end()

        return start(work())
