"""The table of the configuration: every section and key, declared once.

Parsing, `pypid check-config` and docs/reference/configuration are derived from these
declarations. A field of a class below is a key: its kind, the text of its default, one line of
documentation (reStructuredText), and whether it is secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import Any, TypeVar

import attrs
from attrs import field, frozen

from pypid.core.accounts.ldap_filters import GROUP_FILTER, USER_FILTER
from pypid.core.configuration import value_kinds
from pypid.core.configuration.choices import (
    AccessStore,
    Addressing,
    CatalogStore,
    Encryption,
    Layout,
    Level,
    Linking,
    LogFormat,
    Mode,
    Needed,
    Registration,
    StorageBackend,
    Tls,
)
from pypid.core.configuration.value_kinds import (
    Cooldown,
    ValueKind,
    choice,
    count,
    duration,
    optional,
    several,
    size,
)
from pypid.core.permissions import Principals

PUBLIC_INDEX = "https://pypi.org/simple/"
"""The public Python Package Index: the upstream index if `[upstream] url` is empty."""

PUBLIC_FILES = "files.pythonhosted.org"
"""The host of the public index's files."""

T = TypeVar("T")
_DECLARED = "pypid"


@frozen
class Key:
    """The declaration of one key."""

    kind: ValueKind[Any]
    default: str
    doc: str
    secret: bool = False


def key(
    kind: ValueKind[T],
    default: str,
    doc: str,
    *,
    secret: bool = False,
) -> T:
    """Declare a key as a field of a section's class; the field's name is the key's."""
    if secret:
        shown: Any = False
    else:
        shown = (
            (lambda value: repr(value_kinds.without_userinfo(kind.show(value))))
            if kind.url
            else True
        )
    declared = Key(kind, default, doc, secret)
    return field(default=kind.parse(default), repr=shown, metadata={_DECLARED: declared})


def keys(section: type[Any]) -> dict[str, Key]:
    """Return the keys that a section's class declares, by name, in order."""
    return {attribute.name: attribute.metadata[_DECLARED] for attribute in attrs.fields(section)}


_GLOBS = several(value_kinds.GLOB)
_TEXT = optional(value_kinds.TEXT)
_PATH = optional(value_kinds.PATH)


@frozen(kw_only=True)
class ServerSettings:
    """Listeners, TLS, limits and the state folder."""

    listen: tuple[str, ...] = key(
        several(value_kinds.ENDPOINT),
        "tcp:6543:interface=127.0.0.1",
        "Where to listen: ``host:port``, ``:port`` (every address), or Twisted endpoint strings; "
        "several are separated by white space.",
    )
    backlog: int = key(
        count(1),
        "1024",
        "Connections that may wait to be accepted, on each listener without ``backlog=`` of its "
        "own; Linux's ``net.core.somaxconn`` bounds it, and systemd's sockets have their own "
        "(``Backlog=``).",
    )
    tls_certificate: str | None = key(
        _PATH,
        "",
        (
            "PEM chain; with ``tls_key``, every tcp, tcp6 and systemd endpoint speaks TLS, unix "
            "never. Read again on change."
        ),
    )
    tls_key: str | None = key(
        _PATH,
        "",
        "PEM private key of the certificate; read again on SIGHUP and when the files change.",
    )
    tls_minimum: Tls = key(choice(Tls), "1.2", "The oldest TLS version that is spoken.")
    hsts: timedelta = key(
        duration(),
        "365d",
        "How long browsers use https alone for the host of ``public_url``, where that is an "
        "https URL without a port (Strict-Transport-Security); 0: not sent.",
    )
    public_url: str | None = key(
        optional(value_kinds.BASE_URL),
        "",
        (
            "Base of generated absolute URLs; empty: from Host, if ``allowed_hosts`` does not "
            "exclude it."
        ),
    )
    allowed_hosts: tuple[str, ...] = key(
        several(value_kinds.HOST),
        "",
        "Further accepted values of the Host header, which generated URLs may begin with; ``*``: "
        "all. Literal addresses, ``localhost``, this machine's names and the host of "
        "``public_url`` are always accepted. Empty: other hosts get 421 on loopback listeners, "
        "and are logged elsewhere.",
    )
    cors: tuple[str, ...] = key(
        value_kinds.ORIGINS,
        "off",
        (
            "Web pages whose scripts may read what everyone may read (micropip in a browser needs "
            "this)."
        ),
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = key(
        several(value_kinds.NETWORK),
        "",
        "Networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted.",
    )
    max_upload: int = key(size(1), "4G", "The largest accepted upload.")
    header_timeout: timedelta = key(
        duration("1s", "1h"),
        "20s",
        "How long the head of a request may take, from its first byte to its end.",
    )
    min_body_rate: int = key(
        size(),
        "500",
        (
            "Bytes a second, over half a minute, below which a request's body is too slow; 0: no "
            "limit."
        ),
    )
    max_connections_per_client: int = key(
        count(1),
        "1000",
        "Connections of one address (IPv6: one /64), in each worker; at most three quarters of "
        "what its file descriptors allow. Trusted proxies and unix sockets have no limit, the "
        "clients they name have.",
    )
    workers: int = key(
        count(1),
        "1",
        "Processes that share the sockets; more than 1 needs a shared catalog (sql or redis).",
    )
    fast_path: bool = key(
        value_kinds.BOOLEAN,
        "yes",
        "Repeated requests are answered from memory, before any routing; no: all requests go "
        "through the routes.",
    )
    state: str | None = key(
        _PATH,
        "",
        "The state folder, mode 0700; empty: ``$STATE_DIRECTORY`` (systemd), else "
        "``var`` beside the folder of ``etc/pypid.ini``, else ``pypid-state`` beside the file.",
    )
    secret: str | None = key(
        _TEXT,
        "",
        (
            "Key for sessions and for what is of record; made by ``pypid gen-secret``, 16 "
            "characters or more."
        ),
        secret=True,
    )
    metrics: Principals = key(
        value_kinds.PRINCIPALS, "admins", "Who may read ``/metrics``; as ``[access] read``."
    )


@frozen(kw_only=True)
class StorageSettings:
    """The storage of the files."""

    backend: StorageBackend = key(
        choice(StorageBackend), "files", "A folder, S3, or memory (lost at the end)."
    )
    path: str | None = key(
        _PATH, "", "Folder of the files; empty: ``packages`` below the state folder."
    )
    bucket: str | None = key(_TEXT, "", "The S3 bucket.")
    prefix: str | None = key(_TEXT, "", "Prefix of all keys in the bucket.")
    region: str = key(value_kinds.TEXT, "us-east-1", "The bucket's region.")
    endpoint_url: str | None = key(
        optional(value_kinds.BASE_URL),
        "",
        "Other S3 implementations; path-style is used when this is set.",
    )
    ca_certificates: str | None = key(
        _PATH, "", "PEM file of authorities trusted besides the system's."
    )
    addressing: Addressing = key(
        choice(Addressing), "auto", "The place of the bucket's name in URLs."
    )
    access_key: str | None = key(_TEXT, "", "Empty: the standard AWS chain.", secret=True)
    secret_key: str | None = key(
        _TEXT, "", "The secret that belongs to ``access_key``.", secret=True
    )
    session_token: str | None = key(_TEXT, "", "For temporary credentials.", secret=True)
    redirect: bool = key(
        value_kinds.BOOLEAN, "yes", "yes: 302 to a signed URL; no: stream through pypid."
    )
    expire_after: timedelta = key(
        duration("1s", "7d"),
        "1d",
        "How long a signed URL is valid; less where the credentials end earlier.",
    )
    buffer_time: timedelta = key(
        duration(), "5m", "A signed URL is forgotten this long before it expires."
    )
    server_side_encryption: Encryption | None = key(
        optional(choice(Encryption)), "", "S3's server-side encryption."
    )
    kms_key_id: str | None = key(_TEXT, "", "The KMS key, with ``aws:kms``.")
    storage_class: str | None = key(_TEXT, "", "S3's storage class.")
    prepend_hash: bool = key(
        value_kinds.BOOLEAN,
        "no",
        "S3: store new files as pypicloud does, with ``md5(filename)[:4]/`` before the project.",
    )
    layout: Layout = key(
        choice(Layout),
        "pypid",
        (
            "pypicloud: new files are stored where pypicloud finds them, and its files are taken "
            "over at the start."
        ),
    )
    cloudfront_domain: str | None = key(_TEXT, "", "Signed CloudFront URLs in place of S3's.")
    cloudfront_key_id: str | None = key(_TEXT, "", "CloudFront's name of the key.")
    cloudfront_key_file: str | None = key(_PATH, "", "PEM private key for CloudFront.")


@frozen(kw_only=True)
class CatalogSettings:
    """The catalog: the derived database of projects."""

    backend: CatalogStore = key(
        choice(CatalogStore),
        "memory",
        "memory: of one process; sql, redis: shared by several (docs: scale).",
    )
    url: str | None = key(
        _TEXT,
        "",
        "sql: ``postgresql://user:password@host/database``, ``sqlite:///FILE``; empty: SQLite, "
        "``catalog.db`` below the state folder. redis: ``redis://user:password@host:6379/0``, "
        "``rediss://``, ``unix://``.",
        secret=True,
    )
    dump: str = key(
        value_kinds.FOLDER,
        "snapshot",
        "memory: folder of the catalog dump (JSON files) below the state folder.",
    )
    dump_interval: timedelta = key(
        duration("1s"), "60s", "How often changes are written to the catalog dump."
    )
    stale_for: timedelta = key(
        duration(),
        "10m",
        "How long valid pages are still served while a shared catalog is unavailable.",
    )


@frozen(kw_only=True)
class UpstreamSettings:
    """The upstream index: the source of projects that are not local."""

    mode: Mode = key(
        choice(Mode),
        "cache",
        (
            "``cache`` stores requested files, ``redirect`` sends clients to the upstream, "
            "``mirror`` also keeps cached projects fresh, ``offline`` never contacts the upstream."
        ),
    )
    url: tuple[str, ...] = key(
        several(value_kinds.INDEX_URL),
        "",
        "Simple API base(s), first match wins; empty: the public Python Package Index.",
    )
    file_hosts: tuple[str, ...] = key(
        several(value_kinds.HOST),
        PUBLIC_FILES,
        (
            "Hosts (``host``, ``host:port`` or globs) beside ``url``'s own that files come from: "
            "these may have private addresses."
        ),
    )
    ca_certificates: str | None = key(
        _PATH, "", "PEM file of authorities trusted besides the system's."
    )
    timeout: timedelta = key(
        duration("1s"),
        "10s",
        (
            "How long upstream may be silent, and how long a client waits for a new page where "
            "one is known."
        ),
    )
    ttl: timedelta = key(
        duration(),
        "10m",
        "How long a page is fresh; then it is revalidated; stale is served when upstream is down.",
    )
    reserved: tuple[str, ...] = key(
        _GLOBS, "", "Names and globs never requested from upstream (``acme-*``)."
    )
    allow: tuple[str, ...] = key(_GLOBS, "*", "Names and globs that may come from upstream.")
    deny: tuple[str, ...] = key(_GLOBS, "", "Names and globs that may not.")
    allow_mixed: tuple[str, ...] = key(
        _GLOBS, "", "Names and globs of local projects whose pages may also list upstream files."
    )
    cooldown: Cooldown = key(
        value_kinds.COOLDOWN, "0", "Upstream files younger than this are not visible."
    )
    require_hashes: bool = key(
        value_kinds.BOOLEAN,
        "no",
        (
            "yes: upstream files listed without a hash are not visible; no: they are cached, "
            "checked by their length only."
        ),
    )
    unknown_names: int = key(
        count(0),
        "2000",
        (
            "Number of new names (never requested from upstream before) that an address without "
            "a login may request at once; 0: no limit."
        ),
    )
    unknown_names_per_minute: int = key(
        count(1), "100", "Number of further new names that the address may request each minute."
    )
    restored: tuple[str, ...] = key(
        several(value_kinds.FILENAME),
        "",
        (
            "Files that as-of views and snapshots show although upstream removed them within 14 "
            "days of their upload."
        ),
    )
    refresh: timedelta = key(
        duration("1s"), "1h", "mirror: how often cached projects are refreshed."
    )
    max_cache: int | None = key(
        optional(size(1)),
        "",
        "Size at which cached upstream files are evicted, least recently used first.",
    )


@frozen(kw_only=True)
class AccessSettings:
    """Access rules for projects without rules of their own, and the sources of users."""

    backend: tuple[AccessStore, ...] = key(
        several(choice(AccessStore)),
        "config sql",
        (
            "One or more sources of users, tried in this order. If it is not set, users of an "
            "accounts database that was created without ``sql`` (as before 1.0) cannot log in."
        ),
    )
    url: str | None = key(
        _TEXT,
        "",
        "sql: an SQLAlchemy URL; empty: sqlite below the state folder.",
        secret=True,
    )
    read: Principals = key(value_kinds.PRINCIPALS, "everyone", "Who may see and download.")
    write: Principals = key(value_kinds.PRINCIPALS, "authenticated", "Who may publish.")
    cache_update: Principals = key(
        value_kinds.PRINCIPALS, "everyone", "Who may make pypid fetch from upstream."
    )
    collect: Principals = key(
        value_kinds.PRINCIPALS,
        "authenticated",
        "Who may collect all files that requirements or a lock file need (``POST "
        "/requirements.txt``); ``cache_update`` is needed as well.",
    )
    overwrite: Principals = key(
        value_kinds.PRINCIPALS, "nobody", "Who may replace a published file by different content."
    )
    delete: Principals = key(
        value_kinds.PRINCIPALS, "admins", "Who may delete files, releases and projects."
    )
    delete_needs: Needed = key(
        choice(Needed),
        "read",
        "The right that ``delete`` also requires on a project without rules of its own.",
    )
    admins: tuple[str, ...] = key(several(value_kinds.USER), "", "Users who administer the index.")
    registration: Registration = key(
        choice(Registration),
        "closed",
        (
            "Self-registration: ``closed``, by ``approval`` of an administrator, by invitation "
            "(``token``), or ``open``."
        ),
    )
    captcha: bool = key(
        value_kinds.BOOLEAN,
        "no",
        "Registration requires a proof-of-work captcha (ALTCHA); a browser solves it in a second.",
    )
    session_lifetime: timedelta = key(
        duration("1s"), "12h", "How long a login in the browser lasts."
    )


@frozen(kw_only=True)
class LdapSettings:
    """Users and groups from a directory (LDAP)."""

    url: str | None = key(
        optional(value_kinds.LDAP_URL),
        "",
        "The server. ``ldap:`` uses StartTLS, except to this machine.",
    )
    bind_dn: str | None = key(
        _TEXT,
        "",
        "The DN that searches the directory; empty: anonymous.",
    )
    bind_password: str | None = key(_TEXT, "", "The password of ``bind_dn``.", secret=True)
    base_dn: str | None = key(optional(value_kinds.DN), "", "Users are searched below this entry.")
    user_filter: str | None = key(
        optional(value_kinds.USER_FILTER),
        "",
        f"Which entry is the user; empty: ``{USER_FILTER}``.",
    )
    group_base_dn: str | None = key(
        optional(value_kinds.DN),
        "",
        "Groups are searched below this entry; empty: below ``base_dn``.",
    )
    group_filter: str | None = key(
        optional(value_kinds.GROUP_FILTER),
        "",
        f"Which entries are the user's groups; empty: ``{GROUP_FILTER}``.",
    )
    admin_group: str | None = key(
        _TEXT, "", "The group whose members are admins: its name, or its whole DN."
    )
    ca_certificates: str | None = key(
        _PATH, "", "PEM file of authorities trusted besides the system's."
    )


@frozen(kw_only=True)
class RemoteSettings:
    """Users and groups from another service, by the protocol of docs/guides/remote-users."""

    url: str | None = key(
        optional(value_kinds.BASE_URL),
        "",
        "The service, without ``/check`` and ``/find``: https, or http to this very machine.",
    )
    user: str | None = key(
        _TEXT, "", "The user that pypid logs in as (HTTP Basic); empty: no login."
    )
    password: str | None = key(_TEXT, "", "The password of ``user``.", secret=True)
    cache: timedelta = key(
        duration("0", "1d"), "1m", "How long an answer is cached; 0: not cached."
    )


@frozen(kw_only=True)
class IssuerSettings:
    """Trusted publishing: one section for each OIDC issuer, with any name after the colon."""

    url: str | None = key(
        optional(value_kinds.BASE_URL), "", "The issuer; its JWKS is found by discovery."
    )
    audience: str = key(value_kinds.TEXT, "pypid", "The audience that a token must name.")
    allow: tuple[str, ...] = key(
        value_kinds.LINES, "", "One line a rule: ``<project glob> <claim>=<value glob> ...``"
    )


@frozen(kw_only=True)
class PublishSettings:
    """Export of the index as static files."""

    as_user: str | None = key(
        optional(value_kinds.USER),
        "",
        "User whose view is exported; empty: the anonymous view.",
    )
    target: str | None = key(_TEXT, "", "Folder or ``s3://bucket/prefix`` that is kept up to date.")
    files: Linking = key(choice(Linking), "link", "Whether files are linked or copied.")
    files_url: str | None = key(
        optional(value_kinds.BASE_URL),
        "",
        "Base of file links in published pages; empty: relative ones.",
    )


@frozen(kw_only=True)
class LogSettings:
    """The log's level and format."""

    level: Level = key(choice(Level), "info", "Minimum level of logged messages.")
    format: LogFormat = key(choice(LogFormat), "text", "Lines for people, or JSON for machines.")
    access: bool = key(value_kinds.BOOLEAN, "yes", "One line for each request.")


SECTIONS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "server": ServerSettings,
        "storage": StorageSettings,
        "catalog": CatalogSettings,
        "upstream": UpstreamSettings,
        "access": AccessSettings,
        "ldap": LdapSettings,
        "remote": RemoteSettings,
        "publish": PublishSettings,
        "log": LogSettings,
    }
)
"""The sections with fixed names; each is a field of `Config`."""

ISSUER = "issuer:"
"""Prefix of the names of `IssuerSettings` sections."""

FREE = ("users", "groups", "projects")
"""Sections whose keys are names that users choose. They come from the file only."""
