"""Check values of the configuration: each for itself, and combinations in a section."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pypid.core.configuration.choices import (
    BUCKET_RULE,
    AccessStore,
    Registration,
    StorageBackend,
    UrlCache,
    is_bucket_name,
    is_region_name,
)
from pypid.core.configuration.keys import (
    AccessSettings,
    Key,
    LdapSettings,
    ServerSettings,
    SignedUrlSettings,
    StorageSettings,
)
from pypid.core.errors import shortened


def nearest(word: str, known: Iterable[str], form: str = "{!r}") -> str:
    """Return ``; did you mean 'listen'?`` with the known word most similar to `word`, or ""."""
    # another number is no slip: 1.1 does not mean 1.3
    by_lower = {candidate.lower(): candidate for candidate in known if not candidate[:1].isdigit()}
    close = get_close_matches(word[:80].lower(), by_lower, 1)
    return f"; did you mean {form.format(by_lower[close[0]])}?" if close else ""


def value_of(key: Key, text: str) -> Any:
    """Return the value of `text`. Raises `ValueError`, which says what is allowed."""
    try:
        return key.kind.parse(text)
    except ValueError as error:
        raise ValueError(_refusal(key, text, str(error))) from None


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


class Misfit(NamedTuple):
    """A problem of values that are valid by themselves: what to do about a key of a section. It is
    reported where the key is set, else where `instead` is (section and key).
    """

    section: str
    key: str
    advice: str
    instead: tuple[str, str] = ("", "")


SHORTEST_SECRET = 16
"""Characters of `[server] secret`: it encrypts copies in a bucket, where guesses can be tried."""


def misfits_of_server(server: ServerSettings) -> Iterator[Misfit]:
    """Yield the problems of `[server]`."""
    yield from _pair(
        "server",
        {"tls_certificate": server.tls_certificate, "tls_key": server.tls_key},
        "tls_certificate and tls_key belong together; set both or none",
    )
    if server.secret is not None and len(server.secret) < SHORTEST_SECRET:
        yield Misfit(
            "server",
            "secret",
            f"it has {len(server.secret)} characters and could be guessed; `pypid gen-secret` "
            f"makes a good one ({SHORTEST_SECRET} or more are needed)",
        )


def _pair(section: str, values: Mapping[str, str | None], advice: str) -> Iterator[Misfit]:
    """Yield the problem of two keys if only one of them is set."""
    missing = [key for key, value in values.items() if value is None]
    for key in missing if len(missing) == 1 else ():
        [other] = values.keys() - {key}
        yield Misfit(section, key, advice, (section, other))


def misfits_of_storage(storage: StorageSettings) -> Iterator[Misfit]:
    """Yield the problems of `[storage]`."""
    if storage.backend is not StorageBackend.S3:
        return
    if not storage.bucket:
        yield Misfit(
            "storage",
            "bucket",
            "backend = s3 needs the name of a bucket",
            ("storage", "backend"),
        )
    elif not is_bucket_name(storage.bucket):
        yield Misfit(
            "storage", "bucket", f"{storage.bucket!r} cannot be a bucket's name: {BUCKET_RULE}"
        )
    if not is_region_name(storage.region):
        yield Misfit("storage", "region", f"{storage.region!r} cannot be the name of a region")
    if storage.redirect and storage.buffer_time >= storage.expire_after:
        yield Misfit(
            "storage",
            "buffer_time",
            "it has to be shorter than expire_after, or no signed URL can be given twice",
            ("storage", "expire_after"),
        )
    yield from _pair(
        "storage",
        {"access_key": storage.access_key, "secret_key": storage.secret_key},
        "access_key and secret_key belong together; set both or none",
    )


def misfits_of_ldap(ldap: LdapSettings, access: AccessSettings) -> Iterator[Misfit]:
    """Yield the problems of `[ldap]`."""
    backend = ("access", "backend")
    is_listed = AccessStore.LDAP in access.backend
    if is_listed and ldap.url is None:
        yield Misfit(
            "ldap",
            "url",
            "[access] backend lists ldap, which needs the URL of the directory, like "
            "ldaps://ldap.example.org",
            backend,
        )
    if is_listed and ldap.base_dn is None:
        yield Misfit(
            "ldap",
            "base_dn",
            "[access] backend lists ldap, which needs to know below which entry users are, like "
            "dc=example,dc=org",
            backend,
        )
    if ldap.url is not None and not ldap.url.isascii():
        yield Misfit("ldap", "url", "write the name of the host as DNS has it (xn--...)")
    if ldap.url is not None and urlsplit(ldap.url).path:
        yield Misfit(
            "ldap",
            "url",
            "it ends with the host, or the port; what is searched is said by base_dn",
        )
    yield from _pair(
        "ldap",
        {"bind_dn": ldap.bind_dn, "bind_password": ldap.bind_password},
        "bind_dn and bind_password belong together; set both or none (a directory treats a name "
        "without a password as anonymous)",
    )


def misfits_of_registration(access: AccessSettings) -> Iterator[Misfit]:
    """Yield the problems of `[access] registration`. Users who register become `authenticated`."""
    if access.registration is Registration.CLOSED:
        return
    if AccessStore.SQL not in access.backend:
        yield Misfit(
            "access",
            "registration",
            "accounts that people make are in the accounts database; ask it, too: backend = "
            "config sql",
        )
    open_to_all = [
        key for key in ("write", "overwrite", "delete") if getattr(access, key).authenticated
    ]
    if open_to_all:
        also = " and ".join(f"{key} = authenticated" for key in open_to_all)
        yield Misfit(
            "access",
            "registration",
            f"every user who registers could publish or delete ({also}); list users, or groups "
            f"such as group:developers, instead",
        )


def misfits_of_signed_urls(settings: SignedUrlSettings) -> Iterator[Misfit]:
    """Yield the problems of `[signed_urls]`."""
    if settings.cache is UrlCache.REDIS and settings.url is None:
        yield Misfit(
            "signed_urls",
            "url",
            "set it to the URL of the Redis, like redis://:password@host:6379/0",
            ("signed_urls", "cache"),
        )
    if settings.cache is not UrlCache.REDIS and settings.url is not None:
        yield Misfit("signed_urls", "url", "set cache = redis, or remove the key")


def misfits_of_workers(server: ServerSettings, storage: StorageSettings) -> Iterator[Misfit]:
    """Yield the problems of `[server] workers`."""
    if server.workers == 1:
        return
    if storage.backend is StorageBackend.MEMORY:
        yield Misfit(
            "server",
            "workers",
            "several workers need a [storage] that all of them see: backend = files or s3, not "
            "memory",
        )
