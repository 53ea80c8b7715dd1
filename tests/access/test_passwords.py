from __future__ import annotations

import os
import sys
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import pbkdf2_hmac
from typing import Any
from unittest import skipUnless

from argon2 import PasswordHasher
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.modules import getModule
from twisted.trial.unittest import SynchronousTestCase

from pypid.access import passwords
from pypid.access.passwords import (
    ARGON2,
    BCRYPT,
    KINDS,
    LONGEST_PASSWORD,
    PATIENCE,
    PasswordVerdict,
    Verifier,
    hash_password,
    keyed_hash,
    kind_of,
    needs_upgrade,
    verify,
)
from pypid.core.errors import BadRequest, Busy
from pypid.flow import World, start

SECRET = "Xyzzy: gr\u00fcn"
HASH = hash_password(SECRET)
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def has(module: str) -> bool:
    try:
        getModule(module).load()
    except Exception:
        return False
    return True


def passlib_hash(kind: str, password: str) -> str:
    from passlib import hash as kinds

    rounds = {} if kind == "apr_md5_crypt" else {"rounds": 4 if kind == BCRYPT else 1000}
    return str(getattr(kinds, kind).using(**rounds).hash(password))


class HashTests(SynchronousTestCase):
    def test_parameters(self) -> None:
        """A new hash is argon2id with 19456 KiB, 2 passes, 1 lane and a salt of its own, and shows
        nothing of the password.
        """
        self.assertTrue(HASH.startswith("$argon2id$v=19$m=19456,t=2,p=1$"))
        self.assertNotEqual(HASH, hash_password(SECRET))
        self.assertNotIn("Xyzzy", HASH)

    def test_verify(self) -> None:
        """Only the password itself verifies."""
        self.assertIs(verify(HASH, SECRET), PasswordVerdict.RIGHT)
        for wrong in (
            "",
            SECRET + "x",
            SECRET[:-1],
            SECRET.swapcase(),
            SECRET + "\0",
            "\0",
            "\ud800",
        ):
            self.assertIs(verify(HASH, wrong), PasswordVerdict.WRONG, wrong)

    def test_bounds(self) -> None:
        """4096 bytes are a password, 4097 are not, counted in UTF-8; nor are an empty one and one
        with a NUL.
        """
        longest = "\u00fc" * (LONGEST_PASSWORD // 2)
        self.assertIs(verify(CHEAP.hash(longest), longest), PasswordVerdict.RIGHT)
        for bad in (longest + "x", "x" * 10_000, "", "a\0b"):
            self.assertIs(verify(CHEAP.hash(bad), bad), PasswordVerdict.WRONG)
            error = self.assertRaises(BadRequest, hash_password, bad)
            self.assertNotIn("xxx", str(error))

    def test_damaged(self) -> None:
        """A damaged or unknown hash never verifies, says that it cannot be verified, and needs an
        upgrade.
        """
        for stored in (
            "",
            "Xyzzy",
            SECRET,
            "$1$abcdefgh$ibDWkDLnBAYdqtbOBBMLF0",
            "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            "$argon2id$",
            "$argon2id$v=19$m=99999999999,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub",
            "\u00fc" + HASH,
            HASH + "\u00fc",
            "$2b$12$short",
            "$2b$99$" + "." * 53,
            "$6$rounds=x$a$b",
            "$5$",
            "$pbkdf2-sha512$x$y$z",
            "$pbkdf2-sha256$1000$!!$!!",
        ):
            self.assertIs(verify(stored, SECRET), PasswordVerdict.UNVERIFIABLE, stored)
            self.assertTrue(needs_upgrade(stored), stored)
        self.assertIsNot(verify(HASH[:-1], SECRET), PasswordVerdict.RIGHT)


@skipUnless(has("passlib"), "libpass is not installed (the extra hashes)")
class OthersTests(SynchronousTestCase):
    def test_each(self) -> None:
        """Each other kind verifies the right password only, and needs an upgrade."""
        for kind in set(KINDS.values()):
            if kind == ARGON2 or (kind == BCRYPT and not has("bcrypt")):
                continue
            stored = passlib_hash(kind, SECRET)
            self.assertEqual(kind_of(stored), kind)
            self.assertIs(verify(stored, SECRET), PasswordVerdict.RIGHT, kind)
            for wrong in ("x", "", SECRET + "x", SECRET + "\0", "x" * 3000):
                self.assertIs(verify(stored, wrong), PasswordVerdict.WRONG, kind)
            self.assertTrue(needs_upgrade(stored))

    def test_not_installed(self) -> None:
        """Without the extra `hashes` the other kinds cannot be verified, and nothing breaks."""
        stored = passlib_hash("sha512_crypt", SECRET)
        self.addCleanup(sys.modules.__setitem__, "passlib", sys.modules["passlib"])
        sys.modules["passlib"] = None  # type: ignore[assignment]
        self.assertIs(verify(stored, SECRET), PasswordVerdict.UNVERIFIABLE)

    def test_made_by_others(self) -> None:
        """Hashes verify that `openssl passwd -5`, `-6` and `-apr1` made, and PBKDF2 as Python
        itself computes it.
        """
        for stored in (
            "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            "$apr1$saltstri$aGfuB7Lcvs2TUeFTqUVfN0",
        ):
            self.assertIs(verify(stored, "Hello world!"), PasswordVerdict.RIGHT, stored)
        for digest in ("sha256", "sha512"):
            raw = pbkdf2_hmac(digest, b"Hello world!", b"saltstring", 1000)
            salt, checksum = (
                b64encode(part).decode().rstrip("=").replace("+", ".")
                for part in (b"saltstring", raw)
            )
            self.assertIs(
                verify(f"$pbkdf2-{digest}$1000${salt}${checksum}", "Hello world!"),
                PasswordVerdict.RIGHT,
                digest,
            )

    @skipUnless(has("bcrypt"), "bcrypt is not installed (the extra hashes)")
    def test_bcrypt(self) -> None:
        """bcrypt reads 72 bytes: a longer password, hashed when the library still cut it, logs in;
        $2y$ (htpasswd) is known.
        """
        stored = passlib_hash(BCRYPT, "p" * 72)
        self.assertIs(verify(stored, "p" * 100), PasswordVerdict.RIGHT)
        self.assertIs(verify(stored, "p" * 71), PasswordVerdict.WRONG)
        self.assertIs(verify("$2y$" + stored.removeprefix("$2b$"), "p" * 72), PasswordVerdict.RIGHT)


class Threads:
    """A `Blocking` whose calls run when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.arguments: list[tuple[Any, ...]] = []

    def __call__(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred(canceller=lambda _: None)
        self.arguments.append(args)
        self.calls.append((lambda: call(*args), done))
        return done

    def run(self) -> None:
        call, done = self.calls.pop(0)
        done.callback(call())


class VerifierTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.threads = Threads()
        self.world = World(
            clock=self.clock,
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            blocking=self.threads,
            random=os.urandom,
        )
        self.verifier = Verifier(self.world, most=3)
        self.stored = CHEAP.hash(SECRET)

    def check(
        self, user: str = "alice", password: str = SECRET, stored: str | None = ""
    ) -> Deferred[bool]:
        return start(self.verifier.check(user, password, self.stored if stored == "" else stored))

    def test_remembered(self) -> None:
        """A right password is verified once in five minutes, by user, password and stored hash."""
        first = self.check()
        self.assertNoResult(first)
        self.threads.run()
        self.assertTrue(self.successResultOf(first))
        self.clock.advance(299)
        self.assertTrue(self.successResultOf(self.check()))
        for other in (
            self.check("bob"),
            self.check(password="x"),
            self.check(stored=CHEAP.hash("other")),
            self.check(stored=None),
        ):
            self.assertNoResult(other)
        self.assertEqual(len(self.threads.calls), 2)
        while self.threads.calls:
            self.threads.run()
        self.clock.advance(1)
        self.assertNoResult(self.check())

    def test_nothing_in_clear(self) -> None:
        """What is remembered holds no part of the credential, and another process's key gives
        another hash.
        """
        self.check()
        self.threads.run()
        (fingerprint,) = self.verifier._verified._answers._held
        self.assertEqual(len(fingerprint), 32)
        held = repr(vars(self.verifier)) + repr(self.verifier._verified._answers._held)
        for part in (b"alice", SECRET.encode(), self.stored.encode()):
            self.assertNotIn(part, held.encode())
        other = Verifier(self.world)
        self.assertNotEqual(fingerprint, keyed_hash(other._key, "alice", SECRET, self.stored))

    def test_first_logins_of_many_users_at_once_all_succeed(self) -> None:
        """A hundred users who log in for the first time together wait for each other, and are all
        let in.
        """
        waiting = [self.check(f"u{n}") for n in range(100)]
        while self.threads.calls:
            self.threads.run()
            self.clock.advance(0.1)
        self.assertEqual([self.successResultOf(one) for one in waiting], [True] * 100)

    def test_waiting_for_a_turn_ends(self) -> None:
        """Whoever waits longer than a client would is told to come again; those whose turn has come
        are not.
        """
        waiting = [self.check(f"u{n}") for n in range(5)]
        self.clock.advance(PATIENCE)
        for late in waiting[2:]:
            self.assertEqual(self.failureResultOf(late, Busy).value.retry_after, 2)
        while self.threads.calls:
            self.threads.run()
        self.assertEqual([self.successResultOf(one) for one in waiting[:2]], [True] * 2)
        again = self.check("u4")
        self.threads.run()
        self.assertTrue(self.successResultOf(again))

    def test_unknown_user(self) -> None:
        """An unknown user is verified against some user's hash, the same each time, and refused
        even if that is right.
        """
        hashes = [CHEAP.hash(SECRET) for _ in range(4)]
        self.verifier.resemble([*hashes, "plain"])
        seen = {}
        for n in range(40):
            for _ in range(2):
                unknown = self.check(f"u{n}", stored=None)
                decoy = self.threads.arguments[-1][1]
                self.assertEqual(seen.setdefault(n, decoy), decoy)
                self.threads.run()
                self.assertFalse(self.successResultOf(unknown))
        self.assertEqual(set(seen.values()), set(hashes))

    def test_unverifiable(self) -> None:
        """A hash of an unknown kind never verifies; the log says so once for a user, without the
        hash or the password.
        """
        with capturedLogs() as events:
            for _ in range(2):
                refused = self.check("carol", "Plugh", "Plugh")
                self.threads.run()
                self.assertFalse(self.successResultOf(refused))
        (event,) = events
        self.assertIn("gen-password", formatEvent(event))
        self.assertIn("carol", formatEvent(event))
        self.assertNotIn("Plugh", repr(event))

    def test_same_work(self) -> None:
        """An unknown user, a wrong password and a hash that cannot be verified each cost one
        verification of a real hash.
        """
        real: list[str] = []

        def counting(stored: str, password: str) -> PasswordVerdict:
            verdict = verify(stored, password)
            if verdict is not PasswordVerdict.UNVERIFIABLE:
                real.append(stored)
            return verdict

        self.patch(passwords, "verify", counting)
        self.verifier.resemble([self.stored])
        for stored in (None, self.stored, "$1$unknown"):
            real.clear()
            refused = self.check("somebody", "wrong", stored)
            self.threads.run()
            self.assertFalse(self.successResultOf(refused))
            self.assertEqual(real, [self.stored])
