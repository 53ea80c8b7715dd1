"""The source of users in the directory: finds users, checks passwords and reads groups."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import ldap
import ldap.dn
import ldap.filter
from attrs import define, field, frozen
from ldap.ldapobject import SimpleLDAPObject
from twisted.internet.defer import Deferred, DeferredSemaphore, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.access.passwords import WRONG, is_usable
from pypid.core.accounts.ldap_filters import GROUP_FILTER, USER_FILTER, filled, name_attribute
from pypid.core.configuration.keys import LdapSettings
from pypid.core.configuration.values import is_readable_on_the_way
from pypid.core.errors import Busy, CannotStart, PeopleUnknown, Unauthenticated, shortened
from pypid.core.permissions import Credential, Identity, is_account_name
from pypid.flow import World, shielded, start
from pypid.http_client.connections import Fault, Trust, fault_of, resolving_once

# Entries of the directory, their names, and the groups that they are in. No I/O here.

Key = tuple[tuple[tuple[str, str], ...], ...]
"""A distinguished name in a form in which equivalent names are equal."""

DEEPEST = 8
"""Levels of nested groups that are followed."""
GROUPS_AT_ONCE = 50
"""Groups whose parent groups one search looks up."""
MOST_GROUPS = 1000
"""Maximum number of groups of one user; Active Directory returns no more in one answer either."""


def key_of(dn: str) -> Key:
    """Return the normalized name: lower case, and without variations of spelling. Raises
    `ldap.LDAPError` for an invalid name.
    """
    return tuple(
        tuple(
            sorted(
                (attribute.casefold(), " ".join(value.casefold().split()))
                for attribute, value, _ in rdn
            )
        )
        for rdn in ldap.dn.str2dn(dn)
    )


@frozen
class DirectoryEntry:
    """An entry: its name, and the values of its attributes by their names in lower case."""

    dn: str
    values: Mapping[str, Sequence[bytes]] = field(repr=False)

    @classmethod
    def of(cls, dn: str, values: Mapping[str, Sequence[bytes]]) -> DirectoryEntry:
        """Return the entry for a result of python-ldap."""
        return cls(dn, {attribute.lower(): texts for attribute, texts in values.items()})

    def only(self, attribute: str) -> str | None:
        """Return the one value of the attribute, as the directory spells it; of several the one in
        the first part of its distinguished name.

        None if there is no value, or if it is ambiguous.
        """
        try:
            spellings = [value.decode() for value in self.values.get(attribute.lower(), ())]
        except UnicodeDecodeError:
            return None
        if len(spellings) <= 1:
            return spellings[0] if spellings else None
        first = [
            value
            for name, value, _ in ldap.dn.str2dn(self.dn)[0]
            if name.lower() == attribute.lower()
        ]
        return first[0] if first and first[0] in spellings else None


def groups_of(
    search: Callable[[str], Sequence[DirectoryEntry]], group_filter: str, dn: str, user: str
) -> Sequence[DirectoryEntry]:
    """Return the groups that the user is in, directly or through other groups; each once, also in
    cycles.

    `search` returns the entries for a filter. Raises `ldap.SIZELIMIT_EXCEEDED` beyond
    `MOST_GROUPS`.
    """
    known: dict[Key, DirectoryEntry] = {}
    members = [dn]
    for _ in range(DEEPEST):
        new: dict[Key, DirectoryEntry] = {}
        for first in range(0, len(members), GROUPS_AT_ONCE):
            for entry in search(
                _any_of(group_filter, members[first : first + GROUPS_AT_ONCE], user)
            ):
                new.setdefault(key_of(entry.dn), entry)
        members = [entry.dn for key, entry in new.items() if key not in known]
        known |= {key: entry for key, entry in new.items() if key not in known}
        if len(known) > MOST_GROUPS:
            raise ldap.SIZELIMIT_EXCEEDED(
                {
                    "desc": "Size limit exceeded",
                    "info": f"more than {MOST_GROUPS} groups of one user",
                }
            )
        if not members or "{dn}" not in group_filter:
            break
    return list(known.values())


def _any_of(group_filter: str, members: Sequence[str], user: str) -> str:
    filters = [
        filled(group_filter, ldap.filter.escape_filter_chars, user=user, dn=dn) for dn in members
    ]
    return filters[0] if len(filters) == 1 else f"(|{''.join(filters)})"


# The connection to the directory: Twisted makes it, and libldap gets one end of a socket pair.
#
# libldap could connect by itself, but without time limits: its address lookup is unbounded, and
# its TLS handshake loops forever with a server that sends nothing (2.5 with GnuTLS, which is
# Debian's). Which certificates it trusts depends on its build, on ldap.conf and on the
# environment. And it reconnects without StartTLS. Here the rules are those of every other server
# that pypid connects to, and ending the connection ends whatever libldap waits for.

# Twisted's endpoints and transports are not annotated
# mypy: allow-untyped-calls


_PORTS = {"ldap": 389, "ldaps": 636}
_FAREWELL = 1.0
"""Seconds that the directory has to close the connection."""
START_TLS = bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"
"""The extended request with the OID of StartTLS (RFC 4511, 4.14), as message 1: it is sent before
libldap has the connection.
"""

_LONGEST_ANSWER = 4096
"""Bytes of an answer."""


class _Side(Protocol):
    """One of two joined connections: it forwards what it receives to the other, no faster than that
    one can send.
    """

    transport: Any

    def __init__(self) -> None:
        self.other: _Side | None = None
        self.closed: Deferred[None] = Deferred()
        self.lost: Failure | None = None

    def join(self, other: _Side) -> None:
        """Forward everything to the other side."""
        self.other = other
        if other.lost is None:
            other.transport.registerProducer(self.transport, True)
        else:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None and self.other.lost is None:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        if (
            self.other is not None and self.other.lost is None
        ):  # a lost transport supports none of these calls
            self.other.transport.unregisterProducer()
            self.other.transport.loseConnection()
        self.closed.callback(None)


class _Far(_Side):
    """The connection to the directory."""

    def __init__(self) -> None:
        super().__init__()
        self._received = b""
        self._answered: Deferred[None] | None = None

    async def start_tls(self, creator: Any) -> None:
        """Begin encryption. Raises `Fault` if the directory refuses."""
        self._answered = Deferred()
        self.transport.write(START_TLS)
        await self._answered
        self.transport.startTLS(creator)

    def dataReceived(self, data: bytes) -> None:
        if self._answered is None or self._answered.called:
            super().dataReceived(data)
            return
        self._received += data
        try:
            if accepts_tls(self._received):
                self._answered.callback(None)
        except ValueError as error:
            self._answered.errback(Fault(str(error), lasting=True))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self._answered is not None and not self._answered.called:
            self._answered.errback(reason)


@frozen
class Pipe:
    """A connection to the directory, and `descriptor`: libldap's unencrypted end of it, which
    libldap closes.
    """

    descriptor: int
    _clock: Any
    _far: _Far
    _near: _Side

    def abort(self) -> None:
        """End the connection now; the reader at the other end sees the end."""
        for side in (self._far, self._near):
            if side.lost is None:
                side.transport.abortConnection()

    async def closed(self) -> None:
        """Wait until it is closed, after libldap has closed its end; abort it after `_FAREWELL`
        seconds.
        """
        late = self._clock.callLater(_FAREWELL, self.abort)
        await self._near.closed
        await self._far.closed
        if late.active():
            late.cancel()

    def fault(self) -> Exception | None:
        """Return why the directory's end was lost, or None if it was closed in order."""
        lost = self._far.lost
        if lost is None or not isinstance(lost.value, Exception):
            return None
        return fault_of(lost.value)


class DirectoryRoute:
    """Opens connections to the directory. `url` is that of the configuration."""

    def __init__(
        self, url: str, trust: Trust, step: float, reactor: Any, *, start_tls: bool
    ) -> None:
        address = urlsplit(url)
        host = (address.hostname or "").encode("ascii")
        port = address.port or _PORTS[address.scheme]
        self._reactor = reactor
        self._start_tls = start_tls
        self._creator = trust.creatorForNetloc(host, port)
        self._endpoint: Any = HostnameEndpoint(
            resolving_once(reactor), host.decode("ascii"), port, timeout=step
        )
        if address.scheme == "ldaps":
            self._endpoint = wrapClientTLS(self._creator, self._endpoint)

    async def open(self, within: float) -> Pipe:
        """Return a new connection. Raises `Fault`, and Twisted's `TimeoutError` when it takes
        longer than `within` seconds.
        """
        far: _Far = await start(self._connected()).addTimeout(within, self._reactor)
        try:
            reactor_end, library_end = socket.socketpair()
        except OSError as error:
            far.transport.abortConnection()
            raise Fault(f"{error.strerror} here.", connected=False) from None
        near = _Side()
        try:
            self._reactor.adoptStreamConnection(reactor_end.fileno(), socket.AF_UNIX, _once(near))
        except BaseException:
            library_end.close()
            far.transport.abortConnection()
            raise
        finally:
            reactor_end.close()  # the reactor has adopted a duplicate
        near.join(far)
        far.join(near)
        return Pipe(library_end.detach(), self._reactor, far, near)

    async def _connected(self) -> _Far:
        try:
            far: _Far = await self._endpoint.connect(_Quiet.forProtocol(_Far))
        except Exception as error:
            raise fault_of(error) from None
        if self._start_tls:
            try:
                await far.start_tls(self._creator)
            except BaseException as error:
                far.transport.abortConnection()
                if isinstance(error, Fault) or not isinstance(error, Exception):
                    raise
                raise fault_of(error) from None
        return far


class _Quiet(Factory):
    """A factory that makes one connection and logs neither its start nor its end, since each lookup
    has one.
    """

    noisy = False


def _once(protocol: Protocol) -> Factory:
    return _Quiet.forProtocol(lambda: protocol)


def is_encrypted_first(url: str, certificates_are_named: bool) -> bool:
    """Return whether StartTLS has to succeed before anything is sent: with ``ldap://``, unless it
    stays on this machine.

    Also on this machine, if certificates are configured to check it by.
    """
    return urlsplit(url).scheme == "ldap" and (
        certificates_are_named or is_readable_on_the_way(url)
    )


# --- StartTLS -------------------------------------------------------------------------------------


def accepts_tls(received: bytes) -> bool:
    """Return whether `received` is the complete positive answer to `START_TLS`; False: there is
    more to come.

    Raises `ValueError` with the reason for a refusal, for an invalid answer, and for any bytes
    after it: they would be taken for encrypted content.
    """
    whole = _element(received, 0x30)
    if whole is None:
        return False
    content, rest = whole
    if rest:
        raise ValueError("it sent more than the answer before encryption (StartTLS).")
    number = _element(content, 0x02)
    reply = number and _element(number[1], 0x78)
    code = reply and _element(reply[0], 0x0A)
    if not number or not code:
        raise ValueError("its answer to StartTLS is no LDAP.")
    if number[0] != b"\1" or code[0] != b"\0":
        raise ValueError(
            f"it does not want to encrypt (StartTLS, result {code[0].hex() or '?'}); ldaps:// may "
            "be what it has."
        )
    return True


def _element(data: bytes, tag: int) -> tuple[bytes, bytes] | None:
    """Return the content of the element that `data` begins with, and the bytes after it; None if it
    is incomplete.
    """
    if data[:1] != bytes([tag])[: len(data)]:
        raise ValueError("its answer to StartTLS is no LDAP.")
    if len(data) < 2:
        return None
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start])
    if start > 6 or size > _LONGEST_ANSWER:
        raise ValueError("its answer to StartTLS is no LDAP.")
    if len(data) < start + size:
        return None
    return data[start : start + size], data[start + size :]


_NOWHERE = "ldapi://%2Fdev%2Fnull%2Fnowhere"
"""An address that fails, which libldap would connect to if it lost the connection that it is given.
"""
_MEANT_FOR_THE_USER = (
    ldap.INVALID_CREDENTIALS,
    ldap.INAPPROPRIATE_AUTH,  # the entry has no password
    ldap.NO_SUCH_OBJECT,  # removed since it was found
    ldap.INSUFFICIENT_ACCESS,
    ldap.CONSTRAINT_VIOLATION,  # 389 Directory Server: too many wrong passwords
    ldap.UNWILLING_TO_PERFORM,  # 389 Directory Server: the account is not active
)
"""Errors of a bind that are caused by the user's password or account, and not by the directory."""


class _Link(SimpleLDAPObject):  # type: ignore[misc]  # python-ldap is not annotated
    """python-ldap's connection."""

    def limit(self, seconds: float) -> None:
        """Limit the next operation to so many seconds, in python-ldap and in libldap."""
        self.timeout = seconds
        self.set_option(ldap.OPT_TIMEOUT, seconds)


@define
class DirectoryConnection:
    """An open connection to the directory. Every method raises `ldap.LDAPError`; `ldap.TIMEOUT` if
    it takes longer than a step, or the total time is used up.
    """

    _link: _Link
    _step: float
    _left: Callable[[], float]
    """Returns the seconds that remain for the whole operation."""

    def log_in(self, dn: str, password: str) -> None:
        """Bind as this entry."""
        self._limit()
        self._link.simple_bind_s(dn, password)

    def proves(self, dn: str, password: str) -> bool:
        """Return whether it is the user's password.

        An empty name or password is never right: a server accepts such a bind as anonymous (RFC
        4513, 5.1.2).
        """
        if not dn or not password:
            return False
        try:
            self.log_in(dn, password)
        except _MEANT_FOR_THE_USER:
            return False
        return True

    def search(self, base: str, filter: str, attribute: str, most: int) -> Sequence[DirectoryEntry]:
        """Return the entries below `base`, with this one attribute. Raises
        `ldap.SIZELIMIT_EXCEEDED` for more than `most`.

        Search result references to other servers (Active Directory always has some) are not
        followed.
        """
        seconds = self._limit()
        try:
            found = self._link.search_ext_s(
                base, ldap.SCOPE_SUBTREE, filter, [attribute], timeout=seconds, sizelimit=most
            )
        except ldap.NO_SUCH_OBJECT:
            raise ldap.NO_SUCH_OBJECT(
                {"desc": f"there is no {base!r}, or bind_dn may not see it ([ldap])"}
            ) from None
        return [DirectoryEntry.of(dn, attributes) for dn, attributes in found if dn]

    def _limit(self) -> float:
        seconds = min(self._step, self._left())
        if seconds <= 0:
            raise ldap.TIMEOUT({"desc": "Timed out", "info": "all of it took too long"})
        self._link.limit(seconds)
        return seconds


@contextmanager
def connected(
    descriptor: int, settings: LdapSettings, step: float, left: Callable[[], float]
) -> Iterator[DirectoryConnection]:
    """Yield the connection on `descriptor`, bound as `bind_dn` if there is one; `left` returns the
    seconds that remain. Closes it.
    """
    try:
        link = _Link(_NOWHERE, fileno=descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    try:
        link.set_option(ldap.OPT_REFERRALS, 0)  # never send the password to another server
        link.set_option(ldap.OPT_DEREF, ldap.DEREF_NEVER)
        link.set_option(ldap.OPT_RESTART, 1)  # a signal is no reason to give up
        connection = DirectoryConnection(link, step, left)
        if settings.bind_dn:
            try:
                connection.log_in(settings.bind_dn, settings.bind_password or "")
            except ldap.INVALID_CREDENTIALS:
                raise ldap.INVALID_CREDENTIALS(
                    {"desc": "bind_dn or bind_password of [ldap] is wrong"}
                ) from None
        yield connection
    finally:
        link.unbind_ext_s()


AT_ONCE = 4
"""Threads, and so connections. The daemon has more threads, and other uses for them."""
MOST_WAITING = 64
TOO_LONG = "it takes too long to answer"
_LOG_AGAIN = 60.0
"""Seconds after which the log repeats that the directory is unavailable."""
_MOST_LOGGED = 1000


@frozen
class _Person:
    """A user who was found. `left_out`: groups whose names are not valid names of groups here."""

    identity: Identity
    left_out: tuple[str, ...]


@frozen
class _Refused:
    """A user who exists but may not log in: a wrong password, or (then `why` is for the log) not
    exactly one entry with one name.
    """

    why: str = ""


class LdapPeople:
    """Users and groups of a directory. Names are compared exactly: as the directory spells them, in
    `name_attribute`.

    (The directory takes ``Alice`` for ``alice``. Here she would be another user, with other rights;
    or, changed to ``alice``, the user whom another source knows by that name.)
    """

    _log = Logger()

    def __init__(
        self,
        settings: LdapSettings,
        world: World,
        route: DirectoryRoute,
        step: float,
        patience: float,
    ) -> None:
        """`step` and `patience` are seconds, for one answer and for a whole lookup. Raises
        `CannotStart` for an `admin_group` that looks like a distinguished name and is not valid.
        """
        self._world = world
        self._patience = patience
        self._lookup = _Lookup(settings, _admins(settings.admin_group), step)
        self._route = route
        self._turns = DeferredSemaphore(AT_ONCE)
        self._logged: set[str] = set()
        self._trouble = ""
        self._trouble_logged = 0.0

    async def check(self, credential: Credential) -> Identity | None:
        """Return the identity that the credential proves, or None if the directory does not know
        the user (see `People.check`).
        """
        answer = await self._identify(credential.user, credential.password)
        if isinstance(answer, _Refused):
            raise Unauthenticated(WRONG)
        return None if answer is None else answer.identity

    async def find(self, user: str) -> Identity | None:
        """Return the user's identity without any proof, or None for a user who is unknown or may
        not log in.
        """
        answer = await self._identify(user, None)
        return None if answer is None or isinstance(answer, _Refused) else answer.identity

    async def groups(self, user: str) -> frozenset[str]:
        """Return no groups: the directory has those of its own users only."""
        return frozenset()

    async def _identify(self, user: str, password: str | None) -> _Person | _Refused | None:
        if not is_account_name(user):
            return None
        if len(self._turns.waiting) >= MOST_WAITING:
            raise Busy(
                "Too many people are being looked up in the directory at once.", retry_after=2
            )
        lookup = start(self._run_in_turn(user, password)).addTimeout(
            self._patience, self._world.clock
        )
        try:
            answer = await lookup
        except TimeoutError:
            self._log_trouble(TOO_LONG)
            raise _away() from None
        self._log_answer(answer)
        return answer

    async def _run_in_turn(self, user: str, password: str | None) -> _Person | _Refused | None:
        until = self._world.clock.seconds() + self._patience
        await self._turns.acquire()
        # release the turn when the thread is done, and not when its caller has given up
        return await shielded(self._look_up(user, password, until))

    async def _look_up(
        self, user: str, password: str | None, until: float
    ) -> _Person | _Refused | None:
        def left() -> float:
            return until - self._world.clock.seconds()

        try:
            pipe = await self._route.open(max(left(), 0.01))
            answer = await self._run_over(
                pipe, partial(self._lookup.run, user, password, left, pipe.descriptor), left()
            )
        except Fault as fault:
            trouble = fault.reason
        except (TimeoutError, ldap.TIMEOUT):
            trouble = TOO_LONG
        except ldap.LDAPError as error:
            trouble = _message(error)
        except ValueError:  # a name, or an answer, that is not UTF-8
            trouble = "what it says cannot be read"
        else:
            self._log_recovery()
            return answer
        finally:
            self._turns.release()
        self._log_trouble(trouble)
        raise _away()

    async def _run_over(
        self, pipe: Pipe, ask: Callable[[], _Person | _Refused | None], left: float
    ) -> _Person | _Refused | None:
        """Return the answer to the question over the connection; at the timeout, end the
        connection, and with it the thread.
        """
        late = self._world.clock.callLater(max(left, 0), pipe.abort)
        try:
            return await self._world.blocking(ask)
        except ldap.SERVER_DOWN:
            if not late.active():
                raise TimeoutError() from None
            fault = pipe.fault()
            if fault is not None:
                raise fault from None
            raise
        finally:
            if late.active():
                late.cancel()
            await pipe.closed()

    # --- logging ---

    def _log_answer(self, answer: _Person | _Refused | None) -> None:
        match answer:
            case _Person(_, left_out):
                for name in left_out:
                    self._log_once(
                        name,
                        "The group {name!r} of the directory is left out: no rule could name it",
                    )
            case _Refused(why) if why:
                self._log_once(why, "A user of the directory cannot log in: {name}")
            case _:
                pass

    def _log_once(self, name: str, text: str) -> None:
        if name not in self._logged and len(self._logged) < _MOST_LOGGED:
            self._logged.add(name)
            self._log.warn(text, name=name)

    def _log_recovery(self) -> None:
        if self._trouble:
            self._trouble = ""
            self._log.info("The LDAP directory is available again")

    def _log_trouble(self, trouble: str) -> None:
        now = self._world.clock.seconds()
        if trouble != self._trouble or now - self._trouble_logged >= _LOG_AGAIN:
            self._trouble, self._trouble_logged = trouble, now
            self._log.error(
                "The LDAP directory is unavailable, so its users cannot log in: {trouble}",
                trouble=trouble,
            )


@frozen
class _Lookup:
    """The searches in the directory that identify one user. Blocks."""

    settings: LdapSettings
    admins: Key | str | None
    step: float

    def run(
        self, user: str, password: str | None, left: Callable[[], float], descriptor: int
    ) -> _Person | _Refused | None:
        """Return who the user is, within the seconds that are `left`; with a password, only if it
        is right.

        `descriptor` is the connection, which gets closed.
        """
        with connected(descriptor, self.settings, self.step, left) as connection:
            entry = self._entry(connection, user)
            if not isinstance(entry, DirectoryEntry):
                return entry
            groups = self._groups(connection, entry, user)
            if password is not None and not (
                is_usable(password) and connection.proves(entry.dn, password)
            ):
                return _Refused()
            return self._person(user, groups)

    def _entry(
        self, connection: DirectoryConnection, user: str
    ) -> DirectoryEntry | _Refused | None:
        settings = self.settings
        user_filter = settings.user_filter or USER_FILTER
        attribute = name_attribute(user_filter)
        filter = filled(user_filter, ldap.filter.escape_filter_chars, user=user)
        try:
            found = connection.search(settings.base_dn or "", filter, attribute, 2)
        except ldap.SIZELIMIT_EXCEEDED:
            return _Refused(f"{user!r} is the name of several entries")
        if len(found) != 1:
            return _Refused(f"{user!r} is the name of several entries") if found else None
        [entry] = found
        name = entry.only(attribute)
        if name is None:
            return _Refused(
                f"{entry.dn!r} has no {attribute}, or several and none of them in its "
                f"distinguished name"
            )
        return entry if name == user else None

    def _groups(
        self, connection: DirectoryConnection, entry: DirectoryEntry, user: str
    ) -> tuple[DirectoryEntry, ...]:
        settings = self.settings
        base = settings.group_base_dn or settings.base_dn or ""
        return tuple(
            groups_of(
                lambda filter: connection.search(base, filter, "cn", MOST_GROUPS),
                settings.group_filter or GROUP_FILTER,
                entry.dn,
                user,
            )
        )

    def _person(self, user: str, groups: tuple[DirectoryEntry, ...]) -> _Person:
        names = {group.dn: group.only("cn") for group in groups}
        admin = self.admins is not None and any(
            name == self.admins if isinstance(self.admins, str) else key_of(dn) == self.admins
            for dn, name in names.items()
        )
        good = frozenset(
            name for name in names.values() if name is not None and is_account_name(name)
        )
        left_out = sorted(name or dn for dn, name in names.items() if name not in good)
        return _Person(Identity(user, good, admin), tuple(left_out))


def _admins(group: str | None) -> Key | str | None:
    """Return a key if the text looks like a distinguished name, else the name of a group."""
    if group is None or "=" not in group:
        return group
    try:
        return key_of(group)
    except ldap.LDAPError:
        raise CannotStart(
            f"[ldap] admin_group: {group!r} is neither the name of a group nor a distinguished "
            f"name."
        ) from None


def _away() -> PeopleUnknown:
    return PeopleUnknown("the LDAP directory")


def _message(error: ldap.LDAPError) -> str:
    """Return the messages of libldap and the server in one line."""
    details = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    texts = [str(details[part]) for part in ("desc", "info") if details.get(part)] or [
        type(error).__name__
    ]
    return shortened(
        " / ".join("".join(c if c.isprintable() else " " for c in text).strip() for text in texts),
        300,
    )
