"""The table of the configuration: every section and key, declared once.

Parsing, `pypid check-config` and docs/reference/configuration are derived from these
declarations. A field of a class below is a key: its kind, the text of its default, one line of
documentation (reStructuredText), and whether it is secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import Any, TypeVar

import attrs
from attrs import field, frozen

from pypid.core.accounts.ldap_filters import GROUP_FILTER, USER_FILTER
from pypid.core.configuration import values
from pypid.core.configuration.choices import (
    AccessStore,
    Addressing,
    BlockedAdvisories,
    Encryption,
    Level,
    LogFormat,
    Mode,
    Needed,
    NewProjects,
    Owners,
    Registration,
    StorageBackend,
    Tls,
    UrlCache,
)
from pypid.core.configuration.values import (
    BLOCKS,
    INDEX_NAMES,
    MOMENT,
    UPSTREAM_NAMES,
    ValueKind,
    choice,
    count,
    duration,
    optional,
    several,
    size,
)
from pypid.core.cooldown import Cooldown
from pypid.core.packaging.block_spec import BlockSpec
from pypid.core.permissions import Principals
from pypid.core.trust import Ratchet, RequiredPublisher

PUBLIC_INDEX = "https://pypi.org/simple/"
"""The public Python Package Index: the upstream index if `[upstream] url` is empty."""

PUBLIC_FILES = "files.pythonhosted.org"
"""The host of the public index's files."""

PUBLIC_ADVISORIES = "https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip"
"""The public OSV archive of PyPI, which `[advisories] source = osv` names."""

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
            (lambda value: repr(values.without_userinfo(kind.show(value)))) if kind.url else True
        )
    declared = Key(kind, default, doc, secret)
    return field(default=kind.parse(default), repr=shown, metadata={_DECLARED: declared})


def keys(section: type[Any]) -> dict[str, Key]:
    """Return the keys that a section's class declares, by name, in order."""
    return {attribute.name: attribute.metadata[_DECLARED] for attribute in attrs.fields(section)}


_GLOBS = several(values.GLOB)
_TEXT = optional(values.TEXT)
_PATH = optional(values.PATH)


@frozen(kw_only=True)
class ServerSettings:
    """Listeners, TLS, limits and the state folder."""

    listen: tuple[str, ...] = key(
        several(values.ENDPOINT),
        "tcp:6543:interface=127.0.0.1",
        "The addresses that pypid listens on: ``port``, ``host:port`` or Twisted endpoint strings.",
    )
    tls_certificate: str | None = key(
        _PATH,
        "",
        "PEM file with the certificate chain. With ``tls_key``, every tcp, tcp6 and systemd "
        "endpoint uses TLS; unix sockets never do. pypid reads the file again when it "
        "changes.",
    )
    tls_key: str | None = key(
        _PATH,
        "",
        "PEM file with the private key of the certificate. pypid reads it again when it "
        "changes, and on SIGHUP.",
    )
    tls_minimum: Tls = key(
        choice(Tls, **dict.fromkeys(("1.0", "1.1"), "this version is not safe; write 1.2")),
        "1.2",
        "The oldest TLS version that clients may use.",
    )
    hsts: timedelta = key(
        duration(),
        "365d",
        "How long browsers must use https for the host of ``public_url`` "
        "(Strict-Transport-Security). pypid sends it only if ``public_url`` is an https URL "
        "without a port. 0 turns it off.",
    )
    public_url: str | None = key(
        optional(values.BASE_URL),
        "",
        "The address of the index as clients know it, for absolute URLs in responses. Empty: "
        "the Host header of the request, if ``allowed_hosts`` accepts it.",
    )
    allowed_hosts: tuple[str, ...] = key(
        several(values.HOST),
        "",
        "Additional host names that clients may use; ``*`` accepts all. IP addresses, "
        "``localhost``, the names of this machine and the host of ``public_url`` are always "
        "accepted. Requests for other hosts get 421.",
    )
    cors: tuple[str, ...] = key(
        values.ORIGINS,
        "off",
        "Origins of web pages whose scripts may read public projects. micropip in a browser "
        "needs this.",
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = key(
        several(values.NETWORK),
        "",
        "Networks of reverse proxies. pypid trusts X-Forwarded-For and X-Forwarded-Proto from "
        "these only.",
    )
    max_upload: int = key(size(1), "4G", "The largest accepted upload.")
    header_timeout: timedelta = key(
        duration("1s", "1h"),
        "20s",
        "The time limit for the head of a request, from its first byte to its end.",
    )
    max_connections_per_client: int = key(
        count(1),
        "1000",
        "The number of connections from one address (IPv6: from one /64), in each worker; at "
        "most three quarters of the worker's file descriptors. Trusted proxies and unix "
        "sockets have no limit; the clients that they name have.",
    )
    workers: int = key(
        count(1),
        "1",
        "The number of worker processes, which share the databases in the state folder or in "
        "PostgreSQL.",
    )
    fast_path: bool = key(
        values.BOOLEAN,
        "yes",
        "Answer repeated requests from memory, before routing. ``no`` sends all requests "
        "through the routes.",
    )
    state: str | None = key(
        _PATH,
        "",
        "The state folder (mode 0700). Empty: ``$STATE_DIRECTORY`` if systemd sets it; "
        "``/var/lib/pypid`` for a file in ``/etc`` or in a folder of it; else ``pypid-state`` "
        "beside the file, or ``var`` beside ``etc`` for ``etc/pypid.ini``.",
    )
    secret: str | None = key(
        _TEXT,
        "",
        "The key for sessions and for backups of the state in a bucket, 16 characters or "
        "more. ``pypid gen-secret`` creates one.",
        secret=True,
    )
    metrics: Principals = key(
        values.PRINCIPALS,
        "admins",
        "Users who may read ``/metrics``; the values are those of ``[access] read``.",
    )


@frozen(kw_only=True)
class StorageSettings:
    """The storage of the files."""

    backend: StorageBackend = key(
        choice(StorageBackend),
        "files",
        "``files``: a folder; ``s3``: a bucket; ``memory``: for tests, lost at the end of the "
        "process.",
    )
    path: str | None = key(
        _PATH, "", "``files``: the folder. Empty: ``packages`` in the state folder."
    )
    bucket: str | None = key(_TEXT, "", "``s3``: the bucket.")
    prefix: str | None = key(_TEXT, "", "``s3``: a prefix for all keys in the bucket.")
    region: str = key(values.TEXT, "us-east-1", "``s3``: the region of the bucket.")
    endpoint_url: str | None = key(
        optional(values.BASE_URL),
        "",
        "``s3``: the address of another S3 implementation. pypid then puts the bucket's name "
        "into the path.",
    )
    ca_certificates: str | None = key(
        _PATH,
        "",
        "PEM file with certificate authorities that pypid trusts in addition to the system's.",
    )
    addressing: Addressing = key(
        choice(Addressing),
        "auto",
        "``s3``: where URLs have the bucket's name: in the ``path``, in the host name "
        "(``virtual``), or ``auto``: in the path if ``endpoint_url`` is set.",
    )
    access_key: str | None = key(
        _TEXT,
        "",
        "``s3``: the access key. Empty: the standard AWS chain (environment, shared files, "
        "web identity, container, instance).",
        secret=True,
    )
    secret_key: str | None = key(
        _TEXT, "", "``s3``: the secret that belongs to ``access_key``.", secret=True
    )
    session_token: str | None = key(
        _TEXT, "", "``s3``: the session token of temporary credentials.", secret=True
    )
    redirect: bool = key(
        values.BOOLEAN,
        "yes",
        "``s3``: redirect downloads to signed URLs of the bucket (302). ``no`` streams files "
        "through pypid.",
    )
    expire_after: timedelta = key(
        duration("1s", "7d"),
        "1d",
        "``s3``: how long a signed URL is valid. It never outlives the credentials.",
    )
    buffer_time: timedelta = key(
        duration(), "5m", "``s3``: pypid stops giving out a signed URL this long before it expires."
    )
    server_side_encryption: Encryption | None = key(
        optional(choice(Encryption)), "", "``s3``: server-side encryption of new objects."
    )
    kms_key_id: str | None = key(_TEXT, "", "``s3``: the KMS key for ``aws:kms``.")
    storage_class: str | None = key(_TEXT, "", "``s3``: the storage class of new objects.")
    adopt: bool = key(
        values.BOOLEAN,
        "no",
        "Publish the files in the storage that have no record at the start, where they are, as "
        "a pypicloud left them.",
    )
    cloudfront_domain: str | None = key(
        _TEXT, "", "``s3``: the CloudFront domain for signed URLs, instead of S3's."
    )
    cloudfront_key_id: str | None = key(_TEXT, "", "``s3``: the id of the CloudFront key.")
    cloudfront_key_file: str | None = key(
        _PATH, "", "``s3``: PEM file with the private CloudFront key."
    )


@frozen(kw_only=True)
class DatabaseSettings:
    """The database of the catalog, the accounts, the audit log and the downloads."""

    url: str | None = key(
        _TEXT,
        "",
        "``postgresql://user:password@host/database``, which several machines share; empty: "
        "SQLite files in the state folder.",
        secret=True,
    )
    stale_for: timedelta = key(
        duration(),
        "10m",
        "How long pypid serves known pages while the database is unavailable.",
    )


@frozen(kw_only=True)
class SignedUrlSettings:
    """The signed URLs of a bucket, which are reused while they are valid."""

    cache: UrlCache | None = key(
        optional(choice(UrlCache)),
        "",
        (
            "Where they are. ``memory``: in each process, and every minute in a file of the state "
            "folder; ``database``: also in the database; ``redis``: also in the Redis of ``url``, "
            "with the extra ``redis``. Empty: ``database`` if several processes share the database "
            "(``[database] url``, or several ``[server] workers``), else ``memory``."
        ),
    )
    url: str | None = key(
        optional(values.REDIS_URL),
        "",
        "``redis``: ``redis://user:password@host:6379/0``; ``rediss://`` for TLS.",
        secret=True,
    )


@frozen(kw_only=True)
class UpstreamSettings:
    """The upstream index: the source of projects that are not local."""

    mode: Mode = key(
        choice(Mode),
        "cache",
        "``cache`` fetches and stores files on request. ``redirect`` sends clients to the "
        "upstream for files. ``mirror`` also refreshes cached projects regularly. ``offline`` "
        "never contacts the upstream.",
    )
    url: tuple[str, ...] = key(
        several(values.INDEX_URL),
        "",
        "Simple API addresses of the upstream indexes; the first that has a project wins. "
        "Empty: the public Python Package Index.",
    )
    upstreams: tuple[str, ...] = key(
        several(values.UPSTREAM_NAME),
        "",
        "The upstreams of the index, in order: names of ``[upstream:<name>]`` sections, and "
        "``public`` for ``url``. Empty: all sections, and ``public``.",
    )
    file_hosts: tuple[str, ...] = key(
        several(values.HOST),
        PUBLIC_FILES,
        "Hosts that serve upstream files, in addition to the hosts of ``url``: ``host``, "
        "``host:port`` or globs. They may have private addresses.",
    )
    ca_certificates: str | None = key(
        _PATH,
        "",
        "PEM file with certificate authorities that pypid trusts in addition to the system's.",
    )
    timeout: timedelta = key(
        duration("1s"),
        "10s",
        "How long pypid waits for the next byte of an upstream response. A client waits as "
        "long for a fresh page before it gets the known one.",
    )
    ttl: timedelta = key(
        duration(),
        "10m",
        "How long an upstream page is fresh. Then pypid revalidates it; while the upstream is "
        "unavailable it serves the known page.",
    )
    reserved: tuple[str, ...] = key(
        _GLOBS, "", "Names and globs that pypid never requests from the upstream, like ``acme-*``."
    )
    allow: tuple[str, ...] = key(
        _GLOBS, "*", "Names and globs of projects that may come from the upstream."
    )
    deny: tuple[str, ...] = key(
        _GLOBS,
        "",
        "Names and globs of projects that may not come from the upstream, cached files "
        "included. It wins over ``allow``.",
    )
    allow_mixed: tuple[str, ...] = key(
        _GLOBS, "", "Names and globs of local projects whose pages may also list upstream files."
    )
    cooldown: Cooldown = key(
        values.COOLDOWN,
        "0",
        "The minimum age of upstream files, or the last day of their upload (UTC); other files "
        "are hidden. Exceptions follow, the first match counts: ``3d numpy=0 "
        "acme-*=2026-08-01``; for some versions, and until a date: "
        "``requests==2.32.4=0@2026-12-31``.",
    )
    cooldown_fixes: timedelta = key(
        duration(),
        "0",
        "The cooldown of versions that fix a vulnerability, by ``[advisories]``, of a cached "
        "version that was downloaded in the last 90 days; ``0``: that of other versions.",
    )
    require_hashes: bool = key(
        values.BOOLEAN,
        "no",
        "Hide upstream files that are listed without a hash. With ``no`` pypid serves them, "
        "verified by their length only.",
    )
    new_projects: NewProjects = key(
        choice(NewProjects),
        "open",
        "``ask``: an upstream project without cached files is withheld until an administrator "
        "approves it (``pypid approval``). ``open``: no approval is needed.",
    )
    unknown_names: int = key(
        count(0),
        "2000",
        "The number of new names (never requested from the upstream before) that an anonymous "
        "address may request at once, with 100 more each minute; 0: no limit.",
    )
    restored: tuple[str, ...] = key(
        several(values.FILENAME),
        "",
        "Files that as-of views list although the upstream removed them within "
        "14 days of their upload.",
    )
    refresh: timedelta = key(
        duration("1s"), "1h", "``mirror``: how often pypid refreshes the pages of cached projects."
    )
    max_cache: int | None = key(
        optional(size(1)),
        "",
        "The size at which pypid evicts cached files, least recently used first. Empty: no limit.",
    )
    memory: int = key(
        size(16 << 20),
        "128M",
        "The memory of each process for upstream listings and for the finished pages of "
        "installers, also those of local projects. Listings that do not fit are read back from "
        "a temporary file in the state folder.",
    )


@frozen(kw_only=True)
class NamedUpstreamSettings:
    """A further upstream index for some names: one section for each, with a name after the colon.

    A key that is not set has the value of the same key in `[upstream]`.
    """

    url: tuple[str, ...] = key(
        several(values.INDEX_URL),
        "",
        "Simple API addresses of the upstream; the first that has a project wins. Required.",
    )
    only: tuple[str, ...] = key(
        _GLOBS,
        "",
        "Names and globs of its projects. Indexes that use this upstream request these names "
        "here, and not from the public index. Other indexes request them from the public "
        "index, unless ``exclusive = yes``. Required.",
    )
    exclusive: bool = key(
        values.BOOLEAN,
        "no",
        "Never request the names in ``only`` from the public index, also for indexes that do "
        "not use this upstream. Set it for private names.",
    )
    credentials: str | None = key(
        optional(values.CREDENTIALS),
        "",
        "``user:password`` for ``url``. pypid sends it to the origin of ``url`` only.",
        secret=True,
    )
    cooldown: Cooldown | None = key(
        optional(values.COOLDOWN),
        "",
        "The minimum age of its files, or the last day of their upload, with exceptions.",
    )
    file_hosts: tuple[str, ...] = key(
        several(values.HOST),
        "",
        "Hosts that serve its files, in addition to the hosts of ``url``: ``host``, "
        "``host:port`` or globs.",
    )
    ca_certificates: str | None = key(
        _PATH, "", "PEM file with certificate authorities in addition to the system's."
    )
    timeout: timedelta | None = key(
        optional(duration("1s")), "", "How long pypid waits for the next byte of a response."
    )
    ttl: timedelta | None = key(
        optional(duration()), "", "How long a page is fresh. Then pypid revalidates it."
    )
    require_hashes: bool | None = key(
        optional(values.BOOLEAN), "", "Hide files that are listed without a hash."
    )


@frozen(kw_only=True)
class AccessSettings:
    """Access rules for projects without rules of their own, and the sources of users."""

    backend: tuple[AccessStore, ...] = key(
        several(
            choice(AccessStore, remote="users of an own service come from ldap or sql instead")
        ),
        "config sql",
        "The sources of users, in this order.",
    )
    read: Principals = key(
        values.PRINCIPALS, "everyone", "Users who may see and download projects."
    )
    write: Principals = key(
        values.PRINCIPALS, "authenticated", "Users who may publish, yank and unyank."
    )
    cache_update: Principals = key(
        values.PRINCIPALS, "everyone", "Users who may make pypid contact the upstream."
    )
    collect: Principals = key(
        values.PRINCIPALS,
        "authenticated",
        "Users who may fetch all files of a requirements or lock file (``POST "
        "/requirements.txt``). They also need ``cache_update``.",
    )
    overwrite: Principals = key(
        values.PRINCIPALS,
        "nobody",
        "Users who may replace a published file by other content. Administrators need this "
        "right too.",
    )
    delete: Principals = key(
        values.PRINCIPALS, "admins", "Users who may delete files, releases and projects."
    )
    delete_needs: Needed = key(
        choice(Needed),
        "read",
        "The right on the project that ``delete`` also requires, for projects without rights "
        "of their own.",
    )
    owners: Owners = key(
        choice(Owners),
        "uploader",
        "``uploader``: the user who first publishes a project owns it. ``write`` then lets "
        "users publish new projects and projects without an owner, not change projects of "
        "others. ``none``: the users in ``write`` may change all projects without rights.",
    )
    admins: tuple[str, ...] = key(several(values.USER), "", "Users who administer the index.")
    registration: Registration = key(
        choice(Registration),
        "closed",
        "Self-registration: ``closed`` (only administrators create accounts), ``approval`` (an "
        "administrator approves each), ``token`` (by invitation) or ``open``.",
    )
    captcha: bool = key(
        values.BOOLEAN,
        "no",
        "Registration requires a proof of work (ALTCHA), which a browser computes in a few "
        "seconds.",
    )
    session_lifetime: timedelta = key(
        duration("1s"), "12h", "How long a login in the web interface lasts."
    )


@frozen(kw_only=True)
class LdapSettings:
    """Users and groups from a directory (LDAP)."""

    url: str | None = key(
        optional(values.LDAP_URL),
        "",
        "The server. pypid uses StartTLS with ``ldap:`` URLs, except for a server on this machine.",
    )
    bind_dn: str | None = key(
        _TEXT,
        "",
        "The DN that pypid binds as to search. Empty: anonymous.",
    )
    bind_password: str | None = key(_TEXT, "", "The password of ``bind_dn``.", secret=True)
    base_dn: str | None = key(
        optional(values.DN), "", "The entry below which pypid searches users."
    )
    user_filter: str | None = key(
        optional(values.USER_FILTER),
        "",
        f"The filter that finds a user's entry. Empty: ``{USER_FILTER}``.",
    )
    group_base_dn: str | None = key(
        optional(values.DN),
        "",
        "The entry below which pypid searches groups. Empty: ``base_dn``.",
    )
    group_filter: str | None = key(
        optional(values.GROUP_FILTER),
        "",
        f"The filter that finds a user's groups. Empty: ``{GROUP_FILTER}``.",
    )
    admin_group: str | None = key(
        _TEXT, "", "The group whose members are administrators: its name or its DN."
    )
    ca_certificates: str | None = key(
        _PATH,
        "",
        "PEM file with certificate authorities that pypid trusts in addition to the system's.",
    )


@frozen(kw_only=True)
class IssuerSettings:
    """Trusted publishing: one section for each OIDC issuer, with any name after the colon."""

    url: str | None = key(
        optional(values.BASE_URL), "", "The OIDC issuer. pypid finds its keys by discovery."
    )
    audience: str = key(values.TEXT, "pypid", "The audience that tokens must name.")
    allow: tuple[str, ...] = key(
        values.LINES,
        "",
        "Rules, one per line: ``<project glob> <claim>=<value glob> ... [as_user=<user>]``. "
        "``as_user`` owns new projects (``[access] owners``).",
    )


@frozen(kw_only=True)
class IndexKeys:
    """A named index, served below ``/<name>/``: a section for each, named after the colon."""

    bases: tuple[str, ...] = key(
        INDEX_NAMES,
        "default",
        "The indexes where pypid looks up projects that this index does not have, in order: "
        "names of indexes, ``default``, and ``public`` for the upstream indexes alone; or "
        "``none``.",
    )
    read: Principals | None = key(
        optional(values.PRINCIPALS),
        "",
        "Users who may see the index and download from it. Empty: as in ``[access]``.",
    )
    write: Principals | None = key(
        optional(values.PRINCIPALS),
        "",
        "The only users who may publish, yank and unyank there, also if rights on a project or its "
        "ownership say otherwise. Empty: as in ``[access]``.",
    )
    delete: Principals | None = key(
        optional(values.PRINCIPALS),
        "",
        "Users who may delete files, releases and projects there. Empty: as in ``[access]``.",
    )
    owners: Owners | None = key(
        optional(choice(Owners)),
        "",
        "The owners of a new project of the index. Empty: as in ``[access]``.",
    )
    volatile: bool = key(
        values.BOOLEAN,
        "no",
        "Users who may publish to the index may also overwrite and delete its files.",
    )
    allow: tuple[str, ...] = key(
        _GLOBS, "*", "Names and globs of the inherited projects that the index shows."
    )
    deny: tuple[str, ...] = key(
        _GLOBS, "", "Names and globs of inherited projects that the index hides."
    )
    block: tuple[BlockSpec, ...] = key(
        BLOCKS,
        "",
        "Projects, and versions of them, whose inherited files the index hides, in addition "
        "to the blocks of the server.",
    )
    allow_mixed: tuple[str, ...] = key(
        _GLOBS,
        "",
        "Projects whose page lists the files of the index and of its bases together. pypid "
        "may send these names upstream.",
    )
    merge: tuple[str, ...] = key(
        _GLOBS,
        "",
        "Projects whose page lists the local files of the index and of all its bases "
        "together. Upstream files are added only for the projects in ``allow_mixed``.",
    )
    cooldown: Cooldown | None = key(
        optional(values.COOLDOWN),
        "",
        "The minimum age of upstream files in the index, in addition to ``[upstream] "
        "cooldown``. Empty: no additional wait.",
    )
    upstreams: tuple[str, ...] | None = key(
        optional(UPSTREAM_NAMES),
        "",
        "The upstreams of the index, in order: names of ``[upstream:<name>]`` sections, and "
        "``public``; or ``none``. Empty: those of the default index.",
    )
    expires: datetime | None = key(
        optional(MOMENT),
        "",
        "When the index ends: its last day, or a time (UTC). Empty: never.",
    )


@frozen(kw_only=True)
class AdvisorySettings:
    """Security advisories: vulnerabilities and malware in projects."""

    source: str | None = key(
        optional(values.ADVISORY_SOURCE),
        "",
        "Advisories in the OSV format: ``osv`` (the public archive of PyPI), a path or URL of "
        "``all.zip``, or a folder with JSON files. Empty: none.",
    )
    own: str | None = key(
        _PATH,
        "",
        "A folder with the company's own advisories (OSV), as JSON.",
    )
    refresh: timedelta = key(
        duration("1m"), "1h", "How often pypid reads changes of ``source`` and ``own``."
    )
    block: tuple[BlockedAdvisories, ...] = key(
        several(choice(BlockedAdvisories)),
        "malware",
        "Which advisories hide upstream files: ``malware``, and severities, each with those above "
        "it. Local files are never hidden.",
    )


@frozen(kw_only=True)
class TrustSettings:
    """Publishers that must have attested files (PEP 740); with the extra ``attestations``."""

    require: tuple[RequiredPublisher, ...] = key(
        several(values.REQUIRED_PUBLISHER),
        "",
        "The publishers of projects: ``acme-*=github:acme/* requests=github:psf/requests``. "
        "The first name or glob that matches counts; repeat it for further publishers. Other "
        "upstream files are held, and other uploads are refused.",
    )
    ratchet: Ratchet = key(
        choice(Ratchet),
        "warn",
        "An upstream file without an attestation, or by another publisher, after releases of "
        "the project were attested: ``hold`` it until an administrator approves it, ``warn`` "
        "in the log, or ``off``.",
    )
    trust_root: str | None = key(
        _PATH,
        "",
        "The trusted root of a private Sigstore, as a JSON file. Attestations of the public "
        "Sigstore are valid too.",
    )


@frozen(kw_only=True)
class LogSettings:
    """The log's level and format."""

    level: Level = key(choice(Level), "info", "The minimum level of logged messages.")
    format: LogFormat = key(
        choice(LogFormat), "text", "``text`` for people, ``json`` for log collectors."
    )
    access: bool = key(values.BOOLEAN, "yes", "Log one line for each request.")


SECTIONS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "server": ServerSettings,
        "storage": StorageSettings,
        "database": DatabaseSettings,
        "signed_urls": SignedUrlSettings,
        "upstream": UpstreamSettings,
        "access": AccessSettings,
        "ldap": LdapSettings,
        "advisories": AdvisorySettings,
        "trust": TrustSettings,
        "log": LogSettings,
    }
)
"""The sections with fixed names; each is a field of `Config`."""

ISSUER = "issuer:"
UPSTREAM = "upstream:"
INDEX = "index:"

FAMILIES: Mapping[str, type[Any]] = MappingProxyType(
    {ISSUER: IssuerSettings, UPSTREAM: NamedUpstreamSettings, INDEX: IndexKeys}
)
"""The sections with a free name after the colon, by their prefix."""

FREE = ("users", "groups", "projects")
"""Sections whose keys are names that users choose. They come from the file only."""

_GATES = (
    "promotions need no gates any more; give `write` of the index to those who may promote, and "
    "remove the key"
)
REMOVED: Mapping[tuple[str, str | None], str] = MappingProxyType(
    {
        (INDEX, "devpi"): (
            "pypid redirects no addresses of a devpi-server any more; let nginx redirect them "
            "(docs: From devpi), and remove the key"
        ),
        (INDEX, "require"): (
            "an index requires no publishers of its own any more; use [trust] require, which "
            "applies to the uploads of all indexes, and remove the key"
        ),
        ("catalog", None): (
            "[database] has url = postgresql://... of several machines, and stale_for; without url "
            "the catalog is in the state folder, also for several workers; remove the section"
        ),
        ("access", "url"): (
            "write it as [database] url, which the catalog uses too; the file of a SQLite URL "
            "becomes accounts.db in the state folder; remove the key"
        ),
        ("access", "gates"): _GATES,
        (INDEX, "gates"): _GATES,
        ("publish", None): (
            "pypid keeps no static tree up to date any more; run `pypid export` from a timer "
            "instead (docs: Export the index as static files), and remove the section"
        ),
        ("remote", None): (
            "pypid asks no service of your own for users any more; use [ldap] or the accounts "
            "database ([access] backend = sql) instead, and remove the section"
        ),
        ("storage", "layout"): (
            "new files have pypid's layout, and existing ones stay where they are; use adopt = yes "
            "instead of layout = pypicloud, and remove the key"
        ),
        ("storage", "prepend_hash"): (
            "new files get no hash before the project, and existing ones stay where they are; "
            "remove the key"
        ),
        ("server", "backlog"): (
            "1024 connections may wait; write backlog= in the endpoint of [server] listen, and "
            "remove the key"
        ),
        ("server", "min_body_rate"): (
            "a client has to send 500 bytes per second, on average; remove the key"
        ),
        ("upstream", "unknown_names_per_minute"): (
            "an address may request 100 new names each minute beyond unknown_names; remove the key"
        ),
        ("server", "experimental"): "pypid has no variant wheels any more; remove the key",
    }
)
"""What to do instead of sections, by (section, None), and keys that pypid had once. A family of
sections is named by its prefix.
"""
