"""Access that waits: for what it knows people by, and, among several nodes, for what another one
has just changed.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from pypid.access import accounts as current_
from pypid.access.chain import BURST
from pypid.access.passwords import hash_password
from pypid.access.tokens import new_token
from pypid.core.accounts.rights import SESSION_USER, TOKEN_USER, Account, Session
from pypid.core.accounts.sessions import digest_of
from pypid.core.errors import PeopleUnknown, Unauthenticated
from pypid.core.permissions import Action, Credential, Scope
from pypid.daemon.identities import OtherNodes
from pypid.flow import start
from pypid.wiring.platform import load_config
from tests.daemon.test_identities import ini, made_identities
from tests.support.worlds import Turns, world


class SharedTests(TestCase):
    """Two nodes with the same accounts."""

    def test_given_elsewhere(self) -> Deferred[None]:
        """A token that another node has just given, or a session, or a new password, is none that
        is wrong, and is not counted as one; what is wrong is refused.
        """

        async def work() -> None:
            folder = Path(self.mktemp())
            (folder / "state").mkdir(parents=True)
            path, here, reading = ini(folder, "x"), world(Clock()), Scope(frozenset({Action.READ}))
            path.write_text(f"{path.read_text()}[access]\nbackend = config sql\n")
            config = load_config(path)
            both = [made_identities(config, here, nodes=OtherNodes()) for _ in range(2)]
            ours, theirs = both
            try:
                for people in both:
                    await people.open()
                for count in range(BURST + 20):  # none of them is counted as a wrong one
                    secret, token = new_token(
                        here.random, name=f"ci-{count}", user="carol", scope=reading, now=here.now()
                    )
                    await theirs.stores.accounts.add_token(token)
                    who = await ours.access.identify(Credential(TOKEN_USER, secret, "192.0.2.1"))
                    self.assertEqual((who.user, who.token), ("carol", token.id))
                hashed = hash_password("new")
                dave = Account(name="dave", hash=hashed, created=here.now(), changed=here.now())
                await theirs.stores.accounts.add_user(dave)
                self.assertEqual(
                    (await ours.access.identify(Credential("dave", "new", "192.0.2.1"))).user,
                    "dave",
                )
                secret_of = "s" * 43
                digest = digest_of(secret_of, ours.chain.session_key())
                until = here.now() + timedelta(hours=1)
                session = Session(digest=digest, user="carol", created=here.now(), expires=until)
                await theirs.stores.accounts.add_session(session)
                self.assertEqual(
                    (await ours.access.identify(Credential(SESSION_USER, secret_of))).user, "carol"
                )
                await theirs.stores.accounts.revoke_token(token.id)
                await ours.stores.accounts.current.poll()
                never_given, _ = new_token(
                    here.random, name="ci", user="carol", scope=reading, now=here.now()
                )
                for wrong in secret, never_given:
                    with self.assertRaises(Unauthenticated):
                        await ours.access.identify(Credential(TOKEN_USER, wrong, "192.0.2.1"))
            finally:
                for people in both:
                    await people.end()

        return start(work())

    def test_silent_server(self) -> Deferred[None]:
        """Nobody waits for long for a server that keeps connections and does not answer; it is not
        asked twice at once.
        """

        async def work() -> None:
            folder, clock, threads = Path(self.mktemp()), Clock(), Turns()
            (folder / "state").mkdir(parents=True)
            config = load_config(ini(folder, "x"))
            people = made_identities(config, world(clock))
            await people.open()
            current = people.stores.accounts.current
            try:
                await people.stores.accounts.add_group("team")
                self.patch(current_, "Server", type(current.database.place))
                self.patch(current.database, "read", lambda *_: threads(lambda: current.known))
                for _ in range(3):
                    looking = start(current.refresh())
                    clock.pump([0.1] * 19)
                    self.assertNoResult(looking)
                    clock.advance(0.2)
                    self.failureResultOf(looking, PeopleUnknown)
                    self.assertEqual(len(threads), 1)
                looking = start(current.refresh())
                threads.turn()
                threads.turn()
                self.successResultOf(looking)
            finally:
                await people.end()

        return start(work())
