from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from hypothesis import HealthCheck, settings, stateful
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.chain import (
    BURST,
    EACH,
    FORGOTTEN,
    FREE,
    LONGEST,
    PROVEN,
    REFUSED,
    Attempt,
    Throttle,
)
from pypid.core.errors import TooManyAttempts
from pypid.core.permissions import Credential
from tests.support.worlds import world

HERE, THERE = "192.0.2.1", "198.51.100.7"


def of(user: str, password: str = "wrong", address: str = HERE) -> Credential:
    return Credential(user, password, address)


class ThrottleCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = Throttle(world(self.clock))

    def refused(self, credential: Credential) -> int:
        """The seconds to wait."""
        wait: int = self.assertRaises(TooManyAttempts, self.throttle.begin, credential).retry_after
        return wait

    def fail_often(self, credentials: Iterable[Credential]) -> list[Attempt]:
        return [self.throttle.begin(each) for each in credentials]

    def lock(self, user: str = "alice", address: str = HERE) -> int:
        """Guess until there is a wait; its seconds."""
        for n in range(FREE):
            self.throttle.begin(of(user, f"{n}", address))
        return self.refused(of(user, address=address))


class PairTests(ThrottleCase):
    """One user at one address."""

    def test_clock_that_is_set_back(self) -> None:
        """No wait is longer than the longest one."""
        self.clock.advance(1_000_000)
        self.lock()
        self.fail_often(of(f"user{n}") for n in range(BURST - FREE))
        self.clock.rightNow -= 500_000
        self.assertEqual(self.refused(of("alice")), LONGEST)
        self.assertEqual(self.refused(of("bob")), EACH)
        self.clock.advance(LONGEST)
        self.throttle.begin(of("alice"))

    def test_taken_back_late(self) -> None:
        """One that is taken back late opens nothing that a later one has closed."""
        self.lock()
        self.clock.advance(1)
        slow = self.throttle.begin(of("alice"))
        self.clock.advance(2)
        self.throttle.begin(of("alice"))
        self.throttle.take_back(slow)
        self.assertEqual(self.refused(of("alice")), 4)

    def test_spellings(self) -> None:
        """Another case of the name is no other user: a directory may take them for the same."""
        self.fail_often(of(user) for user in ("alice", "Alice", "ALICE", "aLice", "alicE"))
        self.refused(of("alIce"))

    def test_places(self) -> None:
        """The same /64 is the same place, and so is an IPv4 address in the clothes of IPv6; the
        next /64 is another one.
        """
        self.fail_often(of("alice", address=f"2001:db8:0:1:{n}::{n}") for n in range(FREE))
        self.refused(of("alice", address="2001:db8:0:1:ffff:ffff:ffff:ffff"))
        self.throttle.begin(of("alice", address="2001:db8:0:2::1"))
        self.lock("bob", HERE)
        self.refused(of("bob", address=f"::ffff:{HERE}"))
        self.lock("bob", "no address at all")

    def test_nothing_in_clear(self) -> None:
        """What is remembered shows neither names nor passwords of what went wrong."""
        credential = of("Xyzzy-user", "Xyzzy-password")
        attempt = self.throttle.begin(credential)
        self.throttle.begin(of("Xyzzy-user", "Xyzzy-wrong"))
        self.throttle.succeeded(attempt, credential)
        self.assertNotIn(
            "Xyzzy",
            repr(attempt) + repr(self.throttle._pairs._held) + repr(self.throttle._levels._held),
        )
        self.assertNotIn("Xyzzy-password", repr(self.throttle._proven._answers._held))

    def test_bounded(self) -> None:
        """However many users and addresses there are, only so many are remembered."""
        self.throttle = Throttle(world(self.clock), most=50)
        for n in range(500):
            credential = of(f"user{n}", address=f"2001:db8:{n:x}::1")
            self.throttle.succeeded(self.throttle.begin(credential), credential)
            self.throttle.begin(credential)
            self.throttle.wrong_token(credential.address)
        throttle = self.throttle
        for held in (throttle._pairs, throttle._levels, throttle._proven._answers, throttle._known):
            self.assertLessEqual(len(held), 50)


class AddressTests(ThrottleCase):
    """One address, many users."""

    def test_many_users(self) -> None:
        """After a hundred wrong passwords an address may try one each five seconds, whatever the
        users; others are free.
        """
        self.fail_often(of(f"user{n}") for n in range(BURST))
        self.assertEqual(self.refused(of("alice")), EACH)
        self.throttle.begin(of("alice", address=THERE))
        self.clock.advance(EACH)
        self.throttle.begin(of("alice"))
        self.assertEqual(self.refused(of("bob")), EACH)
        self.clock.advance(EACH * BURST)
        self.fail_often(of(f"user{n}") for n in range(BURST))

    def test_own_account(self) -> None:
        """To log in between the guesses with an own account gains nothing."""
        tried = 0
        for n in range(3 * BURST):
            mine = of("mallory", f"{n}")
            try:
                self.throttle.succeeded(self.throttle.begin(mine), mine)
                self.throttle.begin(of(f"user{n}"))
            except TooManyAttempts:
                break
            tried += 1
        self.assertEqual(tried, BURST)

    def test_tokens(self) -> None:
        """Wrong tokens are counted by themselves: they lock no password out, nor the other way
        round.
        """
        for _ in range(BURST):
            self.throttle.wrong_token(HERE)
        error = self.assertRaises(TooManyAttempts, self.throttle.wrong_token, HERE)
        self.assertEqual(error.retry_after, EACH)
        self.throttle.wrong_token(THERE)
        self.fail_often(of(f"user{n}") for n in range(BURST))


class ProvenTests(ThrottleCase):
    """What was right shortly before."""

    def test_five_minutes(self) -> None:
        """It is known for five minutes after it was right last, at its address, and nothing else of
        the user's is.
        """
        credential = of("alice", "right")
        self.assertFalse(self.throttle.is_proven(credential))
        self.throttle.succeeded(self.throttle.begin(credential), credential)
        for other in (
            of("alice"),
            of("bob", "right"),
            of("Alice", "right"),
            of("alicer", "ight"),
            of("alice", "right", THERE),
        ):
            self.assertFalse(self.throttle.is_proven(other))
        self.clock.advance(PROVEN - 1)
        self.assertTrue(self.throttle.is_proven(credential))
        self.throttle.prove(credential)
        self.clock.advance(PROVEN - 1)
        self.assertTrue(self.throttle.is_proven(credential))
        self.clock.advance(1)
        self.assertFalse(self.throttle.is_proven(credential))

    def test_guesses_from_the_address_of_the_user(self) -> None:
        """Twenty refused guesses end the proof: then the right password has to wait as well. When it
        was right again, the guesses are still counted.
        """
        right = of("alice", "right")
        self.throttle.succeeded(self.throttle.begin(right), right)
        self.lock()
        for _ in range(REFUSED - 2):
            self.assertTrue(self.throttle.is_proven(right))
            self.refused(of("alice"))
        self.refused(of("alice"))
        self.assertFalse(self.throttle.is_proven(right))
        self.clock.advance(self.refused(right))
        self.throttle.succeeded(self.throttle.begin(right), right)
        self.throttle.begin(of("alice"))
        self.assertGreater(self.refused(of("alice")), 1)

    def test_guesses_from_ten_thousand_addresses(self) -> None:
        """Of guesses at one user from everywhere a hundred get through, and one each five seconds;
        one line is logged. The user is not delayed at an address where they have logged in.
        """
        home = of("alice", "right", "203.0.113.9")
        self.throttle.succeeded(self.throttle.begin(home), home)
        self.clock.advance(PROVEN)
        through = 0
        with capturedLogs() as events:
            for n in range(10_000):
                try:
                    self.throttle.begin(of("alice", f"{n}", f"10.{n >> 8}.{n & 255}.1"))
                    through += 1
                except TooManyAttempts:
                    pass
        self.assertEqual(through, BURST)
        self.assertEqual(len(events), 1)
        self.assertNotIn("alice", repr(events))
        self.throttle.succeeded(self.throttle.begin(home), home)


class Model:
    """One (user, address) as the specification says it: the times at which attempts began."""

    def __init__(self) -> None:
        self.counted: list[float] = []
        self.free_at = 0.0
        self.refused = 0

    def wait(self, now: float) -> int:
        if self.counted and now - max(self.counted[-1], self.free_at) > FORGOTTEN:
            self.counted, self.free_at, self.refused = [], 0.0, 0
        if now >= self.free_at:
            return 0
        return max(1, ceil(self.free_at - now - 0.001))  # also for the rest of a millisecond

    def count(self, now: float) -> None:
        self.counted.append(now)
        extra = len(self.counted) - FREE
        if extra >= 0:
            self.free_at = max(self.free_at, now + (LONGEST if extra >= 10 else 2**extra))

    def refuse(self, now: float) -> bool:
        """Count an attempt that did not wait; return whether it ends the proof."""
        self.refused += 1
        if self.refused % REFUSED:
            return False
        self.count(now)
        return True


class Machine(stateful.RuleBasedStateMachine):
    """Attempts that begin, go wrong, succeed and are taken back, against the model."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.throttle = Throttle(world(self.clock))
        self.models = {
            (user, place): Model() for user in ("alice", "bob") for place in (HERE, THERE)
        }
        self.right: dict[tuple[str, str], float] = {}
        self.counted = dict.fromkeys((HERE, THERE), 0)

    keys = st.tuples(st.sampled_from(["alice", "bob"]), st.sampled_from([HERE, THERE]))

    def begin(self, key: tuple[str, str], password: str) -> Attempt | None:
        wait = self.models[key].wait(self.clock.seconds())
        try:
            attempt = self.throttle.begin(of(key[0], password, key[1]))
        except TooManyAttempts as error:
            assert wait > 0
            if self.models[key].refuse(self.clock.seconds()):
                self.right.pop(key, None)
                wait = self.models[key].wait(self.clock.seconds())
            assert error.retry_after == wait, (error.retry_after, wait)
            return None
        assert wait == 0, wait
        return attempt

    @stateful.rule(key=keys)
    def wrong(self, key: tuple[str, str]) -> None:
        if sum(self.counted.values()) < BURST - 1 and self.begin(key, "wrong"):
            self.counted[key[1]] += 1
            self.models[key].count(self.clock.seconds())

    @stateful.rule(key=keys)
    def succeeds(self, key: tuple[str, str]) -> None:
        attempt = self.begin(key, "right")
        if attempt is not None:
            self.throttle.succeeded(attempt, of(key[0], "right", key[1]))
            model = self.models[key]
            if model.refused < REFUSED:
                self.models[key] = Model()
            else:
                model.counted[-1], model.free_at = self.clock.seconds(), 0.0
            self.right[key] = self.clock.seconds()

    @stateful.rule(key=keys)
    def nobody_knows(self, key: tuple[str, str]) -> None:
        attempt = self.begin(key, "right")
        if attempt is not None:
            self.throttle.take_back(attempt)
            if self.models[key].counted:  # to try keeps the memory of it
                self.models[key].counted[-1] = self.clock.seconds()

    @stateful.rule(key=keys)
    def changes(self, key: tuple[str, str]) -> None:
        self.throttle.disprove(of(key[0], "right", key[1]))
        self.right.pop(key, None)

    @stateful.rule(key=keys)
    def storms(self, key: tuple[str, str]) -> None:
        for _ in range(REFUSED):
            self.wrong(key)

    @stateful.rule(
        seconds=st.one_of(
            st.floats(0.1, 5), st.sampled_from([1.0, 60.0, 299.0, 300.0, 900.0, 3601.0, 4501.0])
        )
    )
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @stateful.invariant()
    def proven(self) -> None:
        for key in self.models:
            when = self.right.get(key)
            expected = when is not None and self.clock.seconds() < when + PROVEN
            assert self.throttle.is_proven(of(key[0], "right", key[1])) == expected
            assert not self.throttle.is_proven(of(key[0], "wrong", key[1]))


class MachineTests(SynchronousTestCase):
    def test_model(self) -> None:
        """Whatever happens in whatever order, the waits are those of the model."""
        stateful.run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=30,
                stateful_step_count=40,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
