"""Users and groups from a directory: OpenLDAP, FreeIPA, Active Directory. Needs python-ldap
(the extra ``ldap``).

Each lookup opens and closes a connection of its own: so no broken connection has to be detected
when the directory restarts, or when a firewall has dropped an idle connection.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pypid.core.configuration.keys import LdapSettings
from pypid.core.errors import CannotStart
from pypid.core.installation import install_hint
from pypid.flow import World
from pypid.http_client.connections import Trust, certificates

if TYPE_CHECKING:
    from pypid.access.ldap.source import LdapPeople


STEP = 5.0
"""Seconds for one answer of the directory."""
PATIENCE = 10.0
"""Seconds for all questions and waiting to look up one user."""


def open(
    settings: LdapSettings,
    authorities: Path | None,
    world: World,
    reactor: Any,
    step: float = STEP,
    patience: float = PATIENCE,
) -> LdapPeople:
    """Return the source; the directory itself is not contacted yet. Reads a file: call it in a
    thread, or before the reactor runs.

    `settings` have a `url` and a `base_dn`; `authorities`: a PEM file, trusted in addition to the
    system's.

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

    url = settings.url or ""
    start_tls = is_encrypted_first(url, authorities is not None)
    route = DirectoryRoute(url, _trust(authorities), step, reactor, start_tls=start_tls)
    return LdapPeople(settings, world, route, step, patience)


def _trust(file: Path | None) -> Trust:
    if file is None:
        return Trust()
    setting = f"[ldap] ca_certificates ({file})"
    try:
        return Trust(certificates(file.read_bytes(), setting))
    except OSError as error:
        raise CannotStart(f"{setting} cannot be read: {error.strerror}.") from None
