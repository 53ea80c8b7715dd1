"""Check values of the configuration: each for itself, and combinations of keys in a section, where
each value is valid by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pypid.core.configuration.choices import AccessStore, CatalogStore, Registration, StorageBackend
from pypid.core.configuration.keys import (
    AccessSettings,
    CatalogSettings,
    Key,
    LdapSettings,
    ServerSettings,
    StorageSettings,
)
from pypid.core.configuration.values import ValueKind
from pypid.core.errors import shortened

T = TypeVar("T")


def nearest(word: str, known: Iterable[str], form: str = "{!r}") -> str:
    """Return advice with the known word most similar to `word`: ``; did you mean 'listen'?``; empty
    if none is similar.
    """
    # another number is no slip: 1.1 does not mean 1.3
    by_lower = {candidate.lower(): candidate for candidate in known if not candidate[:1].isdigit()}
    close = get_close_matches(word[:80].lower(), by_lower, 1)
    return f"; did you mean {form.format(by_lower[close[0]])}?" if close else ""


def value_of(key: Key, text: str) -> Any:
    """Return the value that `text` spells. Raises `ValueError` with the text (unless it is secret)
    and the allowed values.
    """
    try:
        return key.kind.parse(text)
    except ValueError as error:
        raise ValueError(_refusal(key, text, str(error))) from None


def value_of_kind(kind: ValueKind[T], text: str) -> T:
    """Return the value that `text` spells, for entries that no `Key` declares. Raises `ValueError`
    as `value_of` does.
    """
    value: T = value_of(Key(kind, "", ""), text)
    return value


def _refusal(key: Key, text: str, reason: str) -> str:
    refusal = f"invalid value {_shown(key, text)} (allowed: {key.kind.allowed})"
    if key.secret:
        return refusal
    reason = f": {reason}" if reason and not key.kind.url else ""
    return f"{refusal}{reason}{nearest(text, key.kind.words)}"


def _shown(key: Key, text: str) -> str:
    if key.secret:
        return "(not shown, it may be secret)"
    if (
        key.kind.url
    ):  # a password may precede the @, and invalid text may continue past the end of a URL
        text = re.sub(r".*@", "(set)@", text, flags=re.DOTALL)
    return repr(shortened(text))


# --- combinations ---------------------------------------------------------------------------------


def misfits_of_ldap(ldap: LdapSettings, listed: bool) -> Iterator[tuple[str, str]]:
    """Yield the problems of `[ldap]`: key and advice. `listed`: [access] backend uses the
    directory.
    """
    if listed and ldap.url is None:
        yield (
            "url",
            (
                "[access] backend lists ldap, which needs the URL of the directory, like "
                "ldaps://ldap.example.org"
            ),
        )
    if listed and ldap.base_dn is None:
        yield (
            "base_dn",
            (
                "[access] backend lists ldap, which needs to know below which entry users are, "
                "like dc=example,dc=org"
            ),
        )
    if ldap.url is not None and not ldap.url.isascii():
        yield "url", "write the name of the host as DNS has it (xn--...)"
    if ldap.url is not None and urlsplit(ldap.url).path:
        yield "url", "it ends with the host, or the port; what is searched is said by base_dn"
    if (ldap.bind_dn is None) != (ldap.bind_password is None):
        advice = (
            "bind_dn and bind_password belong together; set both or none (a directory treats a "
            "name without a password as anonymous)"
        )
        yield "bind_password" if ldap.bind_dn else "bind_dn", advice


def misfits_of_registration(access: AccessSettings) -> Iterator[str]:
    """Yield the problems of `[access] registration`: advice. Users who register become
    `authenticated`.
    """
    if access.registration is Registration.CLOSED:
        return
    if AccessStore.SQL not in access.backend:
        yield (
            "accounts that people make are in the accounts database; ask it, too: backend = "
            "config sql"
        )
    open_to_all = [
        key for key in ("write", "overwrite", "delete") if getattr(access, key).authenticated
    ]
    if open_to_all:
        also = " and ".join(f"{key} = authenticated" for key in open_to_all)
        yield (
            f"every user who registers could publish or delete ({also}); list users, or groups "
            f"such as group:developers, instead"
        )


def misfits_of_workers(
    server: ServerSettings, catalog: CatalogSettings, storage: StorageSettings
) -> Iterator[str]:
    """Yield the problems of `[server] workers`: advice."""
    if server.workers == 1:
        return
    if storage.backend is StorageBackend.MEMORY:
        yield (
            "several workers need a [storage] that all of them see: backend = files or s3, not "
            "memory"
        )
    elif catalog.backend is CatalogStore.MEMORY:
        yield (
            "several workers need a catalog that they share: set [catalog] backend = sql, which "
            "needs no url (it is SQLite then, in a file below state), or workers = 1"
        )
