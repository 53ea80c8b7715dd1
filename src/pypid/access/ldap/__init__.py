"""Users and groups from a directory: OpenLDAP, FreeIPA, Active Directory. Needs python-ldap
(the extra ``ldap``).

Each lookup opens and closes a connection of its own: so no broken connection has to be detected
when the directory restarts, or when a firewall has dropped an idle connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pypid.access.ldap.settings import LdapSourceSettings
from pypid.core.errors import CannotStart
from pypid.core.installation import install_hint
from pypid.flow import World
from pypid.http_client.connections import Trust, certificates

if TYPE_CHECKING:
    from pypid.access.ldap.source import LdapPeople


def open(settings: LdapSourceSettings, world: World, reactor: Any) -> LdapPeople:
    """Return the source; the directory itself is not contacted yet. Reads a file: call it in a
    thread, or before the reactor runs.

    Raises `CannotStart` if python-ldap is missing, and for certificates that cannot be read.
    """
    try:
        import ldap  # noqa: F401  # before its users are imported, for a message in words
    except ImportError:
        raise CannotStart(
            "[access] backend = ldap needs python-ldap, which is compiled when it is installed. "
            "On Debian, first: apt install gcc python3-dev libldap2-dev libsasl2-dev. "
            + install_hint("ldap")
        ) from None
    from pypid.access.ldap.source import DirectoryRoute, LdapPeople, is_encrypted_first

    start_tls = is_encrypted_first(settings.url, settings.ca_certificates is not None)
    return LdapPeople(
        settings,
        world,
        DirectoryRoute(settings.url, _trust(settings), settings.step, reactor, start_tls=start_tls),
    )


def _trust(settings: LdapSourceSettings) -> Trust:
    file = settings.ca_certificates
    if file is None:
        return Trust()
    setting = f"[ldap] ca_certificates ({file})"
    try:
        return Trust(certificates(file.read_bytes(), setting))
    except OSError as error:
        raise CannotStart(f"{setting} cannot be read: {error.strerror}.") from None
