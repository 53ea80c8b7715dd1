"""Password hashes: new ones use argon2id; hashes of other common kinds are verified, too.

The parameters are the second of those that OWASP's password storage cheat sheet recommends: 19 MiB
and some 50 ms, so that logging in costs little memory. `verify` blocks; the daemon calls it through
`Verifier`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import cache, partial
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import DeferredSemaphore, TimeoutError
from twisted.logger import Logger

from pypid.access.cached_source import AnswerCache
from pypid.core.errors import BadRequest, Busy
from pypid.core.installation import install_hint
from pypid.flow import World
from pypid.flow.derived import Flights

if TYPE_CHECKING:
    from argon2 import PasswordHasher

WRONG = "The user name or the password is wrong."
"""The error of every source for a wrong name or a wrong password, so that clients cannot learn
which users exist.
"""
MEMORY = 19456
"""KiB."""
PASSES = 2
LANES = 1
LONGEST_PASSWORD = 4096
"""Bytes of UTF-8; longer ones are refused before anything is computed."""

_NOBODYS = f"$argon2id$v=19$m={MEMORY},t={PASSES},p={LANES}$" + "A" * 22 + "$" + "A" * 43
"""A hash with the current parameters that no password is known for."""
_BCRYPT_READS = 72


ARGON2 = "argon2"
BCRYPT = "bcrypt"
KINDS = {
    "$argon2id$": ARGON2,
    "$argon2i$": ARGON2,
    "$argon2d$": ARGON2,
    "$2a$": BCRYPT,
    "$2b$": BCRYPT,
    "$2y$": BCRYPT,
    "$6$": "sha512_crypt",
    "$5$": "sha256_crypt",
    "$pbkdf2-sha512$": "pbkdf2_sha512",
    "$pbkdf2-sha256$": "pbkdf2_sha256",
    "$apr1$": "apr_md5_crypt",  # plain htpasswd's: weak, and replaced at a login to the database
}
"""Kinds of hashes that can be verified, by their prefix: passlib's names, except the first."""


MOST_WAITING = 1024
"""Passwords that may wait for their turn: a team's first logins of a morning, or the jobs of a
matrix that begin together.
"""
PATIENCE = 12.0
"""Seconds that one waits at most. pip gives a connection up after 15."""


class PasswordVerdict(Enum):
    """The result of a verification."""

    RIGHT = "right"
    WRONG = "wrong"
    UNVERIFIABLE = "unverifiable"
    """The password cannot be verified: an unknown or damaged hash, or the library for its kind is
    not installed.
    """


@cache
def _ours() -> PasswordHasher:
    from argon2 import PasswordHasher  # here, since only a first start needs a hash

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY, parallelism=LANES)


def kind_of(stored: str) -> str | None:
    """Return the kind of hash, by its prefix; None for an unknown kind."""
    return next((kind for prefix, kind in KINDS.items() if stored.startswith(prefix)), None)


def hash_password(password: str) -> str:
    """Return a new argon2id hash (PHC string) with the current parameters; takes some 50 ms.

    Raises `BadRequest` for a password that could never log in: empty, over 4096 bytes, or with a
    NUL.
    """
    secret = _usable(password)
    if secret is None:
        raise BadRequest(
            f"This cannot be a password: it is empty, longer than {LONGEST_PASSWORD} bytes, or "
            f"holds a NUL character."
        )
    return _ours().hash(secret)


def needs_upgrade(stored: str) -> bool:
    """Return whether the hash is anything but argon2id with the current parameters.

    That includes stronger ones: if all hashes cost the same, response times do not reveal which
    users exist, and memory stays bounded.
    """
    from argon2.exceptions import InvalidHashError

    try:
        return _ours().check_needs_rehash(stored)
    except (InvalidHashError, ValueError):
        return True


def verify(stored: str, password: str) -> PasswordVerdict:
    """Return whether `password` is the one that `stored` was made from. Blocks: call it in a
    thread.

    An empty password, one over 4096 bytes and one with a NUL (where crypt's kinds would end it) are
    never right.
    """
    secret = _usable(password)
    if secret is None:
        return PasswordVerdict.WRONG
    kind = kind_of(stored)
    if kind is None:
        return PasswordVerdict.UNVERIFIABLE
    if kind == ARGON2:
        return _verify_argon2(stored, secret)
    return _verify_others(kind, stored, secret)


def is_usable(password: str) -> bool:
    """Return whether it can be a password at all: not empty, not over 4096 bytes, text without a
    NUL.
    """
    return _usable(password) is not None


def _usable(password: str) -> bytes | None:
    if not password or len(password) > LONGEST_PASSWORD or "\0" in password:
        return None
    try:
        secret = password.encode()
    except UnicodeEncodeError:
        return None
    return secret if len(secret) <= LONGEST_PASSWORD else None


def _verify_argon2(stored: str, secret: bytes) -> PasswordVerdict:
    from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError

    try:
        _ours().verify(stored, secret)
    except VerifyMismatchError:
        return PasswordVerdict.WRONG
    except (Argon2Error, InvalidHashError, ValueError):
        return PasswordVerdict.UNVERIFIABLE
    return PasswordVerdict.RIGHT


def _verify_others(kind: str, stored: str, secret: bytes) -> PasswordVerdict:
    try:
        from passlib import hash as kinds
        from passlib.exc import MissingBackendError, PasswordValueError
    except ImportError:
        return PasswordVerdict.UNVERIFIABLE
    if kind == BCRYPT:
        # bcrypt never reads more; since its release 5 the library refuses longer passwords instead
        # of ignoring the rest
        secret = secret[:_BCRYPT_READS]
    scheme: Any = getattr(kinds, kind)
    try:
        return PasswordVerdict.RIGHT if scheme.verify(secret, stored) else PasswordVerdict.WRONG
    except PasswordValueError:
        return PasswordVerdict.WRONG
    except (MissingBackendError, ValueError, TypeError):
        return PasswordVerdict.UNVERIFIABLE


def _judge(stored: str | None, decoy: str, password: str) -> PasswordVerdict:
    """Return the verdict of `verify`; without a verifiable hash, spend the same time on `decoy`.
    Blocks.
    """
    verdict = PasswordVerdict.WRONG if stored is None else verify(stored, password)
    if stored is None or verdict is PasswordVerdict.UNVERIFIABLE:
        verify(decoy, password)
    return verdict


def _too_many() -> Busy:
    return Busy("Too many passwords are being checked at once.", retry_after=2)


def keyed_hash(key: bytes, *texts: str) -> bytes:
    """Return a hash of the texts. Without the key, it cannot be compared with guesses."""
    digest = blake2b(key=key, digest_size=32)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8) + data)
    return digest.digest()


class Verifier:
    """Verifies passwords off the reactor thread, at most two at once, and caches the right ones for
    a short while.

    The cache holds keyed hashes over user, password and stored hash, with a key that never leaves
    this process: nothing in clear text, and a change of the stored hash invalidates the entry.
    Wrong passwords are not cached.
    """

    _log = Logger()

    def __init__(
        self,
        world: World,
        *,
        lifetime: float = 300.0,
        most: int = 16384,
        at_once: int = 2,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        """`lifetime` in seconds; `most` credentials are cached."""
        self._world = world
        self._most_waiting = most_waiting
        self._key = world.random(32)
        self._verified: AnswerCache[bytes, None] = AnswerCache(world.clock, lifetime, most)
        self._flights: Flights[bytes, bool] = Flights()
        self._turns = DeferredSemaphore(at_once)
        self._resembled: dict[str, Sequence[str]] = {}
        self._decoys: tuple[str, ...] | None = None
        self._logged: set[str] = set()

    def resemble(self, hashes: Sequence[str], source: str = "") -> None:
        """Verify unknown users against these hashes of known users: the same kinds and parameters
        take the same time.

        They replace those that the same `source` of users passed before.
        """
        self._resembled[source] = hashes
        self._decoys = None

    async def check(self, user: str, password: str, stored: str | None) -> bool:
        """Return whether the password is right; `stored` None: there is no such user, which takes
        as long as a wrong password.

        Raises `Busy` if too many wait already, or its turn has not come within `PATIENCE`.
        """
        if _usable(password) is None:
            return False
        fingerprint = keyed_hash(self._key, user, password, stored or "")
        if self._verified.get(fingerprint) is not None:
            return True
        return await self._flights.single(
            fingerprint, partial(self._verify, user, password, stored, fingerprint)
        )

    async def _verify(
        self, user: str, password: str, stored: str | None, fingerprint: bytes
    ) -> bool:
        if len(self._turns.waiting) >= self._most_waiting:
            raise _too_many()
        turn = self._turns.acquire()
        if not turn.called:
            turn.addTimeout(PATIENCE, self._world.clock)
        try:
            await turn
        except TimeoutError:
            raise _too_many() from None
        try:
            verdict = await self._world.blocking(_judge, stored, self._decoy(user), password)
        finally:
            self._turns.release()
        match verdict:
            case PasswordVerdict.RIGHT:
                self._verified.put(fingerprint, None)
                return True
            case PasswordVerdict.UNVERIFIABLE:
                self._log_unusable(user)
                return False
            case PasswordVerdict.WRONG:
                return False

    def _decoy(self, user: str) -> str:
        # always the same one for a name, as if it were that user's own; clients cannot compute
        # which one
        if self._decoys is None:
            hashes = chain.from_iterable(self._resembled.values())
            self._decoys = tuple(
                sorted(stored for stored in hashes if kind_of(stored) is not None)
            ) or (_NOBODYS,)
        return self._decoys[int.from_bytes(keyed_hash(self._key, user)[:8]) % len(self._decoys)]

    def _log_unusable(self, user: str) -> None:
        if user in self._logged:
            return
        self._logged.add(user)
        self._log.error(
            "The password hash of the user {user!r} is damaged or of a kind that cannot be "
            "verified here, so this user cannot log in with it. Make a new one with `pypid "
            "gen-password`. bcrypt, sha512_crypt, sha256_crypt, pbkdf2_sha512 and pbkdf2_sha256 "
            "need the extra hashes. {hint}",
            user=user,
            hint=install_hint("hashes"),
        )
