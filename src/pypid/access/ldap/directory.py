"""One connection to the directory, for one question. Everything here blocks: it runs in a
thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import ldap
from attrs import define
from ldap.ldapobject import SimpleLDAPObject

from pypid.access.ldap.entries import DirectoryEntry
from pypid.access.ldap.settings import LdapSourceSettings

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
    """Returns the seconds that are left for the whole question."""

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
    descriptor: int, settings: LdapSourceSettings, left: Callable[[], float]
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
        connection = DirectoryConnection(link, settings.step, left)
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
