"""Users and groups from another service, by version 1 of the protocol of
docs/guides/remote-users.rst: the requests, and the documents of the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, TypeVar
from unicodedata import normalize

import msgspec
from attrs import field, frozen
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger
from twisted.web.iweb import IAgent, IResponse

from pypid.access.cached_source import AnswerCache
from pypid.access.passwords import WRONG, is_usable, keyed_hash
from pypid.core.configuration.checks import IN_CLEAR
from pypid.core.configuration.value_kinds import is_readable_on_the_way
from pypid.core.errors import Busy, CannotStart, PeopleUnknown, Unauthenticated
from pypid.core.permissions import Credential, Identity, is_account_name
from pypid.flow import World
from pypid.flow.single_flight import Flights
from pypid.http_client.connections import HttpConnections, connections
from pypid.http_client.faults import UNVERIFIED, Fault
from pypid.http_client.services import ServiceClient, ServiceRequest, UnusableResponse
from pypid.http_client.trust import Trust
from pypid.ports import People

MEDIA_TYPE = "application/vnd.pypid.people.v1+json"
"""The type of all documents, in both directions. A service that answers with another type uses
another protocol, or another version of it.
"""
LONGEST_NAME = 255
"""Characters of a user's or a group's name."""
MOST_GROUPS = 1000

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME)]
_Groups = Annotated[tuple[_Name, ...], msgspec.Meta(max_length=MOST_GROUPS)]
# unknown fields are refused: with "admn" for "admin" a user would silently have fewer rights than
# was meant


class PasswordAccepted(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="answer", tag="right"
):
    """Answer to ``/check``: the service knows the user, and the password is right."""

    user: _Name
    groups: _Groups = ()
    admin: bool = False


class PasswordRejected(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="answer", tag="wrong"
):
    """Answer to ``/check``: the service knows the user, and the password is wrong, or the user may
    not log in.
    """


class KnownUser(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="answer", tag="known"
):
    """Answer to ``/find``: the service knows the user, who may log in. Its tag is not that of
    `PasswordAccepted`, since a question without a password proves nothing.
    """

    user: _Name
    groups: _Groups = ()
    admin: bool = False


class UnknownUser(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="answer", tag="unknown"
):
    """The service does not know the user."""


@frozen
class RespelledUser:
    """The service knows the user, but spells the name otherwise. Names are compared exactly here,
    so this is another user.
    """

    spelled: str


Checked = Identity | PasswordRejected | UnknownUser | RespelledUser
Found = Identity | UnknownUser | RespelledUser
S = TypeVar("S")

_CHECKED: msgspec.json.Decoder[PasswordAccepted | PasswordRejected | UnknownUser] = (
    msgspec.json.Decoder(PasswordAccepted | PasswordRejected | UnknownUser)
)
_FOUND: msgspec.json.Decoder[KnownUser | UnknownUser] = msgspec.json.Decoder(
    KnownUser | UnknownUser
)


class InvalidAnswer(Exception):
    """The document is not a valid answer. The text gives the reason, and quotes nothing of the
    request.
    """


def read_checked(user: str, document: bytes) -> Checked:
    """Return the answer to ``/check`` for the user `user`; raises `InvalidAnswer`."""
    answer = _decoded(document, _CHECKED)
    return _who(user, answer) if isinstance(answer, PasswordAccepted) else answer


def read_found(user: str, document: bytes) -> Found:
    """Return the answer to ``/find`` for the user `user`; raises `InvalidAnswer`."""
    answer = _decoded(document, _FOUND)
    return _who(user, answer) if isinstance(answer, KnownUser) else answer


def _decoded(document: bytes, decoder: msgspec.json.Decoder[S]) -> S:
    try:
        return decoder.decode(document)
    except msgspec.ValidationError as error:
        raise InvalidAnswer(f"its answer is not what the protocol says ({error}).") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidAnswer("its answer is no JSON.") from None


def _who(user: str, answer: PasswordAccepted | KnownUser) -> Identity | RespelledUser:
    if answer.user == user:
        # groups that no rule can name (with white space in them, say) are of no use
        return Identity(
            user, frozenset(group for group in answer.groups if is_name(group)), answer.admin
        )
    if _folded(answer.user) == _folded(user):
        return RespelledUser(answer.user)
    raise InvalidAnswer("its answer is about another user than the one that it was asked about.")


def _folded(name: str) -> str:
    return normalize("NFKC", name).casefold()


def is_name(name: str) -> bool:
    """Return whether a user or a group can have this name."""
    return is_account_name(name, LONGEST_NAME)


A = TypeVar("A")

PATIENCE = 10.0
"""Seconds for one whole answer. A user who logs in waits for it."""
CONNECTING = 5.0
"""Seconds for a connection."""
LARGEST = 1 << 16
"""Bytes of an answer."""
AT_ONCE = 16
MOST_WAITING = 64
"""Requests that are sent at once, and that may wait for their turn."""
MOST_REMEMBERED = 2048
"""Cached credentials, and cached users."""
IDLE = 4
IDLE_TIME = 30
"""Idle connections that are kept open, and for how many seconds."""
SOURCE = "the service that knows the users"

_LOGIN_REFUSED = "it does not accept how pypid logs in there (see [remote] user and password)."
_REASONS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: _LOGIN_REFUSED,
    HTTPStatus.FORBIDDEN: _LOGIN_REFUSED,
    HTTPStatus.NOT_FOUND: (
        "nothing answers there ([remote] url is what comes before /check and /find)."
    ),
}


@frozen(kw_only=True)
class RemoteSourceSettings:
    """``[remote]``. With a `user`, requests carry HTTP Basic authentication.

    `cache`: for how many seconds an answer is believed; `patience`: how many a whole answer may
    take.
    """

    url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    cache: float = 60.0
    patience: float = PATIENCE


class RemotePeople:
    """The `People` of another service.

    Right passwords and the answers about known and unknown users are cached for a while; wrong
    passwords are asked about each time. Passwords are cached as keyed hashes with a key that never
    leaves this process.
    """

    _log = Logger()

    def __init__(self, settings: RemoteSourceSettings, world: World, agent: IAgent) -> None:
        self._settings = settings
        self._client = ServiceClient(agent, world.clock)
        self._key = world.random(32)
        self._right: AnswerCache[bytes, Identity] = AnswerCache(
            world.clock, settings.cache, MOST_REMEMBERED
        )
        self._found: AnswerCache[str, Identity | None] = AnswerCache(
            world.clock, settings.cache, MOST_REMEMBERED
        )
        self._checks: Flights[bytes, Identity | None] = Flights()
        self._finds: Flights[str, Identity | None] = Flights()
        self._turns = DeferredSemaphore(AT_ONCE)
        self._trouble: str | None = None

    async def check(self, credential: Credential) -> Identity | None:
        """Return the identity that the credential proves, or None for an unknown user. An invalid
        password (empty, too long, with a NUL) is not sent anywhere.

        Raises `Unauthenticated` for a wrong password, `PeopleUnknown` and `Busy`.
        """
        user = credential.user
        if not is_name(user):
            return None
        if not is_usable(credential.password):
            if await self.find(user) is None:
                return None
            raise Unauthenticated(WRONG)
        fingerprint = keyed_hash(self._key, user, credential.password)
        right = self._right.get(fingerprint)
        if right is not None:
            return right.answer
        if self._is_unknown(user):
            return None
        return await self._checks.single(
            fingerprint, partial(self._check, user, credential.password, fingerprint)
        )

    async def find(self, user: str) -> Identity | None:
        """Return the user's identity without any proof, or None for an unknown user. Raises
        `PeopleUnknown` and `Busy`.
        """
        if not is_name(user):
            return None
        found = self._found.get(user)
        if found is not None:
            return found.answer
        return await self._finds.single(user, partial(self._find, user))

    async def groups(self, user: str) -> frozenset[str]:
        """Return no groups: the service has those of its own users only."""
        return frozenset()

    # --- questions ---

    async def _check(self, user: str, password: str, fingerprint: bytes) -> Identity | None:
        answer = await self._answer_to(
            "check", {"user": user, "password": password}, partial(read_checked, user)
        )
        match answer:
            case PasswordRejected():
                raise Unauthenticated(WRONG)
            case Identity():
                self._right.put(fingerprint, answer)
        return self._remember(user, answer)

    async def _find(self, user: str) -> Identity | None:
        return self._remember(
            user, await self._answer_to("find", {"user": user}, partial(read_found, user))
        )

    def _remember(
        self, user: str, answer: Identity | UnknownUser | RespelledUser
    ) -> Identity | None:
        identity = answer if isinstance(answer, Identity) else None
        self._found.put(user, identity)
        if isinstance(answer, RespelledUser):
            self._log.info(
                "A client tried to log in as {user!r}, which the service of [remote] spells "
                "{spelled!r}. Names are compared exactly: only {spelled!r} can log in.",
                user=user,
                spelled=answer.spelled,
            )
        return identity

    async def _answer_to(
        self, question: str, about: dict[str, str], read: Callable[[bytes], A]
    ) -> A:
        """Return the service's answer, parsed by `read`. Raises `PeopleUnknown` if there is no
        valid answer, and `Busy`.
        """
        if len(self._turns.waiting) >= MOST_WAITING:
            raise Busy("Too many people are being asked for at once.", retry_after=5)
        await self._turns.acquire()
        try:
            request = self._request(question, msgspec.json.encode(about))
            answer = read(await self._client.fetch(request))
        except Fault as fault:
            advice = (
                " Its authority has to be among the system's." if fault.reason == UNVERIFIED else ""
            )
            raise self._unknown(fault.reason + advice) from None
        except InvalidAnswer as error:
            raise self._unknown(str(error)) from None
        finally:
            self._turns.release()
        if self._trouble is not None:
            self._trouble = None
            self._log.info("The service of [remote] is available again")
        return answer

    def _unknown(self, reason: str) -> PeopleUnknown:
        """Return the error to raise; log the reason, once until another one or an answer comes."""
        if reason != self._trouble:
            self._trouble = reason
            self._log.error(
                (
                    "The service of [remote], {url}, cannot verify users: {reason} Until it can, "
                    "its users get 503."
                ),
                url=self._settings.url,
                reason=reason,
            )
        return PeopleUnknown(SOURCE)

    def _request(self, question: str, document: bytes) -> ServiceRequest:
        settings, auth = self._settings, None
        if settings.user is not None:
            # undecodable bytes of the environment are sent unchanged
            auth = (
                settings.user.encode(errors="surrogateescape"),
                (settings.password or "").encode(errors="surrogateescape"),
            )
        return ServiceRequest(
            method="POST",
            url=f"{settings.url}/{question}",
            headers={"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE},
            check=_check,
            limit=LARGEST,
            timeout=settings.patience,
            data=document,
            auth=auth,
        )

    def _is_unknown(self, user: str) -> bool:
        found = self._found.get(user)
        return found is not None and found.answer is None


def _check(response: IResponse) -> None:
    """Raise `UnusableResponse`, unless it is an answer about a user."""
    status = response.code
    if 300 <= status < 400:
        raise UnusableResponse(
            "it redirects, and passwords are not sent elsewhere: write the URL where it is into "
            "[remote] url."
        )
    if status != HTTPStatus.OK:
        raise UnusableResponse(_REASONS.get(status, f"it answers with status {status}."))
    types = response.headers.getRawHeaders(b"Content-Type") or [b""]
    if types[0].partition(b";")[0].strip().lower() != MEDIA_TYPE.encode("ascii"):
        raise UnusableResponse(
            f"its answer is not of the type {MEDIA_TYPE}: something else answers there, or "
            f"another version."
        )


def connected(reactor: Any, trust: Trust | None = None) -> HttpConnections:
    """Return the HTTP connections to the service; close them when there are no more questions."""
    return connections(reactor, trust or Trust(), CONNECTING, idle=IDLE, idle_time=IDLE_TIME)


def open(settings: RemoteSourceSettings, world: World, agent: IAgent) -> RemotePeople:
    """Return the source, which sends requests by `agent` (see `connected`), but none yet.

    Raises `CannotStart` for a URL that would send passwords in clear text.
    """
    if is_readable_on_the_way(settings.url):
        raise CannotStart(f"[remote] url: {IN_CLEAR}.")
    return RemotePeople(settings, world, agent)


_: type[People] = RemotePeople
