"""Users and groups from a directory: OpenLDAP, FreeIPA, Active Directory. Needs python-ldap
(``pypid[ldap]``).

Each question opens and closes a connection of its own: so no broken connection has to be detected
when the directory restarts, or when a firewall has dropped an idle connection.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from pypid.core.accounts.ldap_filters import GROUP_FILTER, USER_FILTER
from pypid.core.errors import CannotStart
from pypid.flow import World
from pypid.http_client.trust import Trust, certificates

if TYPE_CHECKING:
    from pypid.access.ldap.source import LdapPeople


def _users(text: str | None) -> str:
    return text or USER_FILTER


def _groups(text: str | None) -> str:
    return text or GROUP_FILTER


@frozen(kw_only=True)
class LdapSourceSettings:
    """``[ldap]``. The filters have the syntax of `core.accounts.ldap_filters`; None or an empty
    text means its defaults.

    `bind_dn` None: searches are anonymous. `group_base_dn` None: groups are below `base_dn`, too.
    `ca_certificates`: a PEM file, trusted in addition to the system's. `step` and `patience` are
    seconds: for one answer of the directory, and for all questions and waiting to look up one user.
    """

    url: str
    base_dn: str
    bind_dn: str | None = None
    bind_password: str | None = field(default=None, repr=False)
    user_filter: str = field(default="", converter=_users)
    group_base_dn: str | None = None
    group_filter: str = field(default="", converter=_groups)
    admin_group: str | None = None
    ca_certificates: Path | None = None
    step: float = 5.0
    patience: float = 10.0


def open(settings: LdapSourceSettings, world: World, reactor: Any) -> LdapPeople:
    """Return the source; the directory itself is not contacted yet. Reads a file: call it in a
    thread, or before the reactor runs.

    Raises `CannotStart` if python-ldap is missing, and for certificates that cannot be read.
    """
    try:
        import ldap  # noqa: F401  # looked for before its users are imported, so that what is missing is said in words
    except ImportError:
        raise CannotStart(
            "[access] backend = ldap needs python-ldap, which is built where it is installed: pip "
            "install 'pypid[ldap]' (on Debian first: apt install gcc python3-dev libldap2-dev "
            "libsasl2-dev)."
        ) from None
    from pypid.access.ldap.route import DirectoryRoute, is_encrypted_first
    from pypid.access.ldap.source import LdapPeople

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
