from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from hypothesis import HealthCheck, given, settings, stateful
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.throttle import BURST, EACH, FORGOTTEN, FREE, LONGEST, PROVEN, Attempt, Throttle
from pypid.core.errors import TooManyAttempts
from pypid.core.permissions import Credential
from pypid.testing.worlds import world

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

    def test_growing(self) -> None:
        """After five wrong ones there is a wait of a second, which doubles with each further one up
        to a quarter of an hour.
        """
        self.lock()
        waits = []
        for _ in range(14):
            waits.append(self.refused(of("alice")))
            self.clock.advance(waits[-1] - 0.5)
            self.assertEqual(self.refused(of("alice")), 1)
            self.clock.advance(0.5)
            self.throttle.begin(of("alice"))
        self.assertEqual(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900])

    def test_refused_counts_not(self) -> None:
        """To ask too early makes nothing longer."""
        self.lock()
        for _ in range(1000):
            self.assertEqual(self.refused(of("alice")), 1)
        self.clock.advance(1)
        self.throttle.begin(of("alice"))

    def test_elsewhere(self) -> None:
        """Whoever guesses elsewhere locks nobody out here; nor does who guesses at somebody else's
        here.
        """
        self.lock(address=THERE)
        self.throttle.begin(of("alice"))
        self.throttle.begin(of("bob", address=THERE))

    def test_burst(self) -> None:
        """Of a thousand guesses at once five get through: what is under way counts."""
        through = 0
        for n in range(1000):
            try:
                self.throttle.begin(of("alice", f"guess {n}"))
            except TooManyAttempts:
                continue
            through += 1
        self.assertEqual(through, FREE)

    def test_success(self) -> None:
        """After a right password everything begins anew here, and nothing has changed elsewhere."""
        *_, attempt = self.fail_often(of("alice") for _ in range(FREE - 1))
        self.lock(address=THERE)
        attempt = self.throttle.begin(of("alice", "right"))
        self.throttle.succeeded(attempt, of("alice", "right"))
        self.fail_often(of("alice") for _ in range(FREE))
        self.refused(of("alice"))
        self.refused(of("alice", address=THERE))

    def test_taken_back(self) -> None:
        """An attempt of which nobody could say whether it was right leaves everything as it was."""
        for _ in range(50):
            self.throttle.take_back(self.throttle.begin(of("alice")))
        self.lock()
        self.clock.advance(1)
        for _ in range(50):
            self.throttle.take_back(self.throttle.begin(of("alice")))
        self.throttle.begin(of("alice"))
        self.assertEqual(self.refused(of("alice")), 2)

    def test_taken_back_late(self) -> None:
        """One that is taken back late opens nothing that a later one has closed."""
        self.lock()
        self.clock.advance(1)
        slow = self.throttle.begin(of("alice"))
        self.clock.advance(2)
        self.throttle.begin(of("alice"))
        self.throttle.take_back(slow)
        self.assertEqual(self.refused(of("alice")), 4)

    def test_forgotten(self) -> None:
        """After an hour of quiet it is forgotten; not before."""
        self.lock()
        self.clock.advance(1 + FORGOTTEN)
        self.throttle.begin(of("alice"))
        self.refused(of("alice"))
        self.clock.advance(2 + FORGOTTEN + 1)
        self.lock()

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

    def test_nowhere(self) -> None:
        """Whoever has no address is not counted."""
        for attempt in self.fail_often(of("alice", address="") for _ in range(500)):
            self.throttle.take_back(attempt)
        self.throttle.succeeded(
            self.throttle.begin(of("alice", address="")), of("alice", address="")
        )
        for _ in range(500):
            self.throttle.wrong_token("")

    def test_log(self) -> None:
        """Long guessing is said in the log, once, without the name, which may be a password in the
        wrong field.
        """
        with capturedLogs() as events:
            for _ in range(30):
                try:
                    self.throttle.begin(of("Xyzzy-user", "Xyzzy-password"))
                except TooManyAttempts as error:
                    self.clock.advance(error.retry_after)
        (event,) = events
        self.assertIn(HERE, formatEvent(event))
        self.assertNotIn("Xyzzy", repr(event))

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
        for held in (self.throttle._pairs, self.throttle._levels, self.throttle._proven):
            self.assertLessEqual(len(held), 50)  # type: ignore[arg-type]


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

    def test_right_ones(self) -> None:
        """However many log in rightly, the address is not slowed down."""
        for n in range(5 * BURST):
            credential = of(f"user{n}")
            self.throttle.succeeded(self.throttle.begin(credential), credential)

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
        """It is known for five minutes after it was right last, wherever it comes from, and nothing
        else of the user's is.
        """
        credential = of("alice", "right")
        self.assertFalse(self.throttle.is_proven(credential))
        self.throttle.succeeded(self.throttle.begin(credential), credential)
        for other in (of("alice"), of("bob", "right"), of("Alice", "right"), of("alicer", "ight")):
            self.assertFalse(self.throttle.is_proven(other))
        self.clock.advance(PROVEN - 1)
        self.assertTrue(self.throttle.is_proven(of("alice", "right", THERE)))
        self.throttle.prove(credential)
        self.clock.advance(PROVEN - 1)
        self.assertTrue(self.throttle.is_proven(credential))
        self.clock.advance(1)
        self.assertFalse(self.throttle.is_proven(credential))

    def test_forget(self) -> None:
        """It ends where the password may have changed."""
        for user in ("alice", "bob", "carol"):
            self.throttle.prove(of(user, "right"))
        self.throttle.forget("alice")
        self.assertEqual(
            [self.throttle.is_proven(of(user, "right")) for user in ("alice", "bob")], [False, True]
        )
        self.throttle.forget_all()
        self.assertFalse(self.throttle.is_proven(of("bob", "right")))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["alice", "Alice", "bob"]),
                st.sampled_from(["", "wrong", "righ", HERE]),
            ),
            max_size=200,
        )
    )
    @settings(max_examples=40, deadline=None, database=None)
    def test_never_delayed(self, tries: list[tuple[str, str]]) -> None:
        """No sequence of wrong attempts makes a proven credential unproven."""
        throttle = Throttle(world(), most=4)
        right = of("alice", "right")
        throttle.succeeded(throttle.begin(right), right)
        for user, password in tries:
            try:
                throttle.begin(of(user, password, HERE))
            except TooManyAttempts:
                continue
        self.assertTrue(throttle.is_proven(right))


class Model:
    """One (user, address) as the specification says it: the times at which attempts began."""

    def __init__(self) -> None:
        self.counted: list[float] = []
        self.free_at = 0.0

    def wait(self, now: float) -> int:
        if self.counted and now - max(self.counted[-1], self.free_at) > FORGOTTEN:
            self.counted, self.free_at = [], 0.0
        return max(0, ceil(self.free_at - now))

    def count(self, now: float) -> None:
        self.counted.append(now)
        extra = len(self.counted) - FREE
        if extra >= 0:
            self.free_at = now + (LONGEST if extra >= 10 else 2**extra)


class Machine(stateful.RuleBasedStateMachine):
    """Attempts that begin, go wrong, succeed and are taken back, against the model."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.throttle = Throttle(world(self.clock))
        self.models = {
            (user, place): Model() for user in ("alice", "bob") for place in (HERE, THERE)
        }
        self.right: dict[str, float] = {}
        self.counted = dict.fromkeys((HERE, THERE), 0)

    keys = st.tuples(st.sampled_from(["alice", "bob"]), st.sampled_from([HERE, THERE]))

    def begin(self, key: tuple[str, str], password: str) -> Attempt | None:
        wait = self.models[key].wait(self.clock.seconds())
        try:
            attempt = self.throttle.begin(of(key[0], password, key[1]))
        except TooManyAttempts as error:
            assert error.retry_after == wait > 0, (error.retry_after, wait)
            return None
        assert wait == 0, wait
        return attempt

    @stateful.rule(key=keys)
    def wrong(self, key: tuple[str, str]) -> None:
        if self.counted[key[1]] < BURST - 1 and self.begin(key, "wrong"):
            self.counted[key[1]] += 1
            self.models[key].count(self.clock.seconds())

    @stateful.rule(key=keys)
    def succeeds(self, key: tuple[str, str]) -> None:
        attempt = self.begin(key, "right")
        if attempt is not None:
            self.throttle.succeeded(attempt, of(key[0], "right", key[1]))
            self.models[key] = Model()
            self.right[key[0]] = self.clock.seconds()

    @stateful.rule(key=keys)
    def nobody_knows(self, key: tuple[str, str]) -> None:
        attempt = self.begin(key, "right")
        if attempt is not None:
            self.throttle.take_back(attempt)
            if self.models[key].counted:  # to try keeps the memory of it
                self.models[key].counted[-1] = self.clock.seconds()

    @stateful.rule(user=st.sampled_from(["alice", "bob"]))
    def changes(self, user: str) -> None:
        self.throttle.forget(user)
        self.right.pop(user, None)

    @stateful.rule(
        seconds=st.one_of(
            st.floats(0.1, 5), st.sampled_from([1.0, 60.0, 299.0, 300.0, 900.0, 3601.0, 4501.0])
        )
    )
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @stateful.invariant()
    def proven(self) -> None:
        for user in ("alice", "bob"):
            when = self.right.get(user)
            expected = when is not None and self.clock.seconds() < when + PROVEN
            assert self.throttle.is_proven(of(user, "right")) == expected
            assert not self.throttle.is_proven(of(user, "wrong"))


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
