"""The settings of the directory. Importing them does not need python-ldap."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from pypid.core.accounts.ldap_filters import GROUP_FILTER, USER_FILTER


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
