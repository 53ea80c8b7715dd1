"""All configuration keys of all pypicloud versions, up to 1.3.12, and the translation of each.

Sources: pypicloud's code and documentation in all its versions (a test holds their names as a list
of its own). A key that is not here had no effect in any pypicloud, so leaving it out cannot grant
access.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import partial

from attrs import define, field, frozen

from pypid.core.configuration.ini import IniEntry, IniSection, printable
from pypid.core.errors import ConfigProblem


class Fate(Enum):
    """The ways to treat a key."""

    TRANSLATED = "translated"
    IGNORED = "ignored"
    REFUSED = "refused"


@frozen
class KnownKey:
    """One key, or all that begin with `name` if it ends in a dot. `text`: the key of pypid's
    configuration that it becomes, or the reason that it does not.

    `since`: the pypicloud versions that had it, if 1.3 does not.
    """

    name: str
    fate: Fate
    text: str
    since: str = ""


_PRE_1_0 = "before 1.0"
_OLDEST = "0.1, the oldest"

_FRAMEWORK = "it configures the framework of pypicloud"
_CACHE = (
    "pypicloud's caches (SQL, Redis, DynamoDB) are not read: pypid makes its catalog from the "
    "storage. A PostgreSQL in db.url or sqlalchemy.url becomes [database] url; several pypids with "
    "one storage need it (docs/guides/nodes)"
)
_SESSION = "pypid has its own sessions and keys"
_HASHED = "new files get no hash before the project; existing ones stay where they are"
_TUNING = "pypid's connections to S3 do not need it"
_HASHING = "new hashes are argon2id; existing ones remain valid"
_INVITATIONS = "invitations of pypicloud are not valid; `pypid user invite` makes new ones"
_SECRETS = "users in AWS Secrets Manager are not read: import them from a dump of ppc-export"
_REMOTE = "users of a service are not read: import them from a dump of ppc-export"
_GCS = "pypid does not support Google Cloud Storage: copy the bucket"
_AZURE = "pypid does not support Azure Blob Storage: copy the container"


def _all(fate: Fate, text: str, names: str, since: str = "") -> Iterator[KnownKey]:
    for name in names.split():
        yield KnownKey(name, fate, text, since)


_becomes = partial(_all, Fate.TRANSLATED)
_ignored = partial(_all, Fate.IGNORED)
_refused = partial(_all, Fate.REFUSED)

_SHOW_UPSTREAM = (
    "anyone who registers the name of a local project on the public index could add a newer "
    "version; list the names that may show both in [upstream] allow_mixed"
)
_DOWNLOAD_URL = (
    "it was a text on pypicloud's home page; pypid shows the requested URL, or [server] public_url"
)

UPSTREAM: tuple[KnownKey, ...] = (
    *_becomes("[upstream] mode", "pypi.fallback"),
    *_becomes("[upstream] mode", "pypi.use_fallback", _OLDEST),
    *_ignored(_SHOW_UPSTREAM, "pypi.always_show_upstream"),
    *_becomes("[upstream] url", "pypi.fallback_base_url pypi.fallback_url"),
    *_ignored("pypid reads every form of the Simple API", "pypi.use_json_scraper"),
    *_becomes("[upstream] reserved", "pypi.disallow_fallback"),
)
ACCESS: tuple[KnownKey, ...] = (
    *_becomes("[access] backend", "pypi.auth"),
    *_becomes("[access] backend", "pypi.access_backend", _PRE_1_0),
    *_becomes("[access] read", "pypi.default_read"),
    *_becomes("[access] write", "pypi.default_write"),
    *_becomes("[access] cache_update", "pypi.cache_update"),
    *_becomes("[access] overwrite", "pypi.allow_overwrite_groups pypi.allow_overwrite"),
    *_becomes("[access] delete", "pypi.allow_delete_groups pypi.allow_delete"),
    *_becomes("[access] admins", "auth.admins"),
    *_becomes("[users]", "user."),
    *_becomes("[groups]", "group."),
    *_becomes("[projects]", "package."),
    *_ignored(
        "later pypiclouds ignored it, too; to open the index to all set pypi.default_read = "
        "everyone and pypi.default_write = authenticated",
        "auth.zero_security_mode",
        _OLDEST,
    ),
    *_ignored(_HASHING, "auth.scheme auth.rounds"),
    *_ignored(_INVITATIONS, "auth.signing_key auth.token_expire"),
    *_becomes("read once, at the first start, into pypid's own accounts database", "auth.db.url"),
    *_ignored("pypid has its own database ([database] url)", "auth.db."),
)
DIRECTORY: tuple[KnownKey, ...] = (
    *_becomes("[ldap] url", "auth.ldap.url"),
    *_becomes("[ldap] bind_dn", "auth.ldap.service_dn"),
    *_becomes("[ldap] bind_password", "auth.ldap.service_password"),
    *_becomes("[ldap] base_dn", "auth.ldap.base_dn"),
    *_becomes("[ldap] user_filter", "auth.ldap.user_search_filter"),
    *_becomes("[ldap] user_filter", "auth.ldap.all_user_search auth.ldap.id_field", _PRE_1_0),
    *_becomes("whether group.* and package.* are in force", "auth.ldap.fallback"),
    *_becomes(
        "[ldap] admin_group or [access] admins, where it is one of these",
        "auth.ldap.admin_field auth.ldap.admin_value",
    ),
    *_refused(
        "it names one entry, and pypid would search below it, where others may be; set "
        "auth.ldap.base_dn and auth.ldap.user_search_filter",
        "auth.ldap.user_dn_format",
    ),
    *_ignored(
        "name the administrators in [access] admins, or their group in [ldap] admin_group",
        "auth.ldap.admin_group_dn",
    ),
    *_ignored("name the administrators in [access] admins", "auth.ldap.admin_dns", _PRE_1_0),
    *_ignored(
        "the directory's service account is not an administrator in pypid",
        "auth.ldap.service_username",
    ),
    *_ignored(
        "the directory's service account is not an administrator in pypid",
        "auth.ldap.service_account",
        _PRE_1_0,
    ),
    *_ignored(
        "certificates are always checked; name the authority in [ldap] ca_certificates",
        "auth.ldap.ignore_cert",
    ),
    *_ignored("a name of several entries matches no user", "auth.ldap.ignore_multiple_results"),
    *_ignored(
        "pypid caches the directory's answers for a short time",
        "auth.ldap.cache_time auth.ldap.ignore_referrals",
    ),
)
OTHER_PEOPLE: tuple[KnownKey, ...] = (
    *_refused(_REMOTE, "auth.backend_server auth.user auth.password auth.uri."),
    *_refused(_SECRETS, "auth.secret_id auth.kms_key_id auth.region_name auth.profile_name"),
    *_refused(_SECRETS, "auth.aws_access_key_id auth.aws_secret_access_key auth.aws_session_token"),
)
STORAGE: tuple[KnownKey, ...] = (
    *_becomes("[storage] backend", "pypi.storage"),
    *_becomes("[storage] path", "storage.dir"),
    *_becomes("[storage] bucket", "storage.bucket"),
    *_becomes("[storage] region", "storage.region_name"),
    *_becomes("[storage] region", "storage.region", _PRE_1_0),
    *_becomes("[storage] prefix", "storage.prefix"),
    *_ignored(_HASHED, "storage.prepend_hash"),
    *_ignored(_HASHED, "pypi.prepend_hash", _OLDEST),
    *_becomes("[storage] access_key", "storage.aws_access_key_id"),
    *_becomes("[storage] access_key", "storage.access_key", _PRE_1_0),
    *_becomes("[storage] secret_key", "storage.aws_secret_access_key"),
    *_becomes("[storage] secret_key", "storage.secret_key", _PRE_1_0),
    *_becomes("[storage] session_token", "storage.aws_session_token"),
    *_becomes("[storage] expire_after", "storage.expire_after"),
    *_becomes("[storage] buffer_time", "storage.buffer_time", _PRE_1_0),
    *_becomes("[storage] redirect", "pypi.stream_files"),
    *_ignored(
        "links in pages always lead to pypid, which redirects clients (with "
        "pypi.stream_files it does not)",
        "storage.redirect_urls",
    ),
    *_becomes("[storage] endpoint_url", "storage.endpoint_url"),
    *_becomes("[storage] endpoint_url", "storage.host storage.is_secure", _PRE_1_0),
    *_becomes("[storage] addressing", "storage.addressing_style"),
    *_becomes("[storage] addressing", "storage.calling_format", _PRE_1_0),
    *_becomes("[storage] ca_certificates", "storage.verify"),
    *_becomes("[storage] server_side_encryption", "storage.server_side_encryption"),
    *_becomes("[storage] storage_class", "storage.storage_class"),
    *_becomes("[storage] cloudfront_domain", "storage.cloud_front_domain"),
    *_becomes("[storage] cloudfront_key_id", "storage.cloud_front_key_id"),
    *_becomes("[storage] cloudfront_key_file", "storage.cloud_front_key_file"),
    *_refused(
        "write the key into a file and name it with storage.cloud_front_key_file",
        "storage.cloud_front_key_string",
    ),
    *_ignored(
        "objects belong to the bucket owner; grant rights to others in the bucket's policy",
        "storage.object_acl",
    ),
    *_ignored("URLs are signed, which also works for a public bucket", "storage.public_url"),
    *_ignored(
        "requests are signed with version 4",
        "storage.signature_version storage.payload_signing_enabled",
    ),
    *_ignored("the URL of S3 contains it (storage.endpoint_url)", "storage.use_ssl"),
    *_ignored(
        "pypid connects to S3 directly, without proxy or accelerator",
        "storage.proxies storage.use_accelerate_endpoint",
    ),
    *_ignored(
        _TUNING,
        "storage.api_version storage.user_agent storage.user_agent_extra storage.connect_timeout",
    ),
    *_ignored(
        _TUNING, "storage.read_timeout storage.parameter_validation storage.max_pool_connections"
    ),
    *_ignored("pages always have hashes", "pypi.calculate_package_hashes"),
    *_ignored(
        "files never change, so clients may cache them without limit", "pypi.package_max_age"
    ),
    *_becomes(
        "as storage.*",
        "aws.access_key aws.secret_key aws.bucket aws.prefix aws.expire_after aws.buffer_time",
        _OLDEST,
    ),
    *_becomes(
        "as storage.*",
        "aws.region aws.host aws.is_secure aws.server_side_encryption",
        _PRE_1_0,
    ),
    *_ignored(_HASHED, "aws.prepend_hash", _PRE_1_0),
    *_becomes(
        "as storage.*",
        "aws.cloud_front_domain aws.cloud_front_key_id aws.cloud_front_key_file",
        _PRE_1_0,
    ),
    *_refused("as storage.cloud_front_key_string", "aws.cloud_front_key_string", _PRE_1_0),
)
OTHER_STORAGES: tuple[KnownKey, ...] = (
    *_refused(
        _GCS,
        "storage.gcp_service_account_json_filename storage.gcp_use_iam_signer "
        "storage.gcp_project_id",
    ),
    *_refused(_GCS, "storage.iam_signer_service_account_email storage.gcp_api_endpoint"),
    *_refused(_AZURE, "storage.storage_account_name storage.storage_account_key"),
    *_refused(_AZURE, "storage.storage_container_name storage.storage_account_url"),
)
NOT_NEEDED: tuple[KnownKey, ...] = (
    *_ignored(_CACHE, "pypi.db db."),
    *_ignored(_CACHE, "pypi.db. sqlalchemy. redis.", _OLDEST),
    *_ignored(_SESSION, "session. beaker."),
    *_ignored('the realm in password prompts of browsers is "pypid"', "pypi.realm"),
    *_ignored(_DOWNLOAD_URL, "pypi.download_url"),
    *_ignored("pypicloud documented it by mistake, and never used it", "pypi.s3 storage.sse"),
    *_becomes(
        "refused if it runs code that may have denied access, else ignored",
        "pyramid.includes pyramid.tweens",
    ),
    *_ignored(_FRAMEWORK, "pyramid. jinja2. mako. debugtoolbar. tm. retry. exclog."),
    *_ignored(_FRAMEWORK, "cache.", _OLDEST),
)
KEYS: tuple[KnownKey, ...] = (
    *UPSTREAM,
    *ACCESS,
    *DIRECTORY,
    *OTHER_PEOPLE,
    *STORAGE,
    *OTHER_STORAGES,
    *NOT_NEEDED,
)
"""All keys, in the order of the documentation. A whole name comes before its family."""

_BY_NAME = {known.name: known for known in KEYS}
_FAMILIES = tuple(
    sorted(
        (known for known in KEYS if known.name.endswith(".")), key=lambda known: -len(known.name)
    )
)

_FIRST = {
    *("aws.access_key", "aws.secret_key", "aws.bucket", "aws.prefix"),
    *("aws.expire_after", "aws.buffer_time"),
    *("pypi.use_fallback", "pypi.fallback_url", "sqlalchemy."),
}
"""The keys of the README of pypicloud 0.1, without `user.`. 0.1 had no keys for rights."""
_FRAMEWORKS = tuple(each.name for each in NOT_NEEDED if each.text == _FRAMEWORK)

PEOPLE = ("user.", "group.", "package.")
"""Families that come from the file only, as in pypicloud."""
SWEPT = ("auth.db.", "session.", "db.")
"""Families for which environment variables can set any key, as in pypicloud."""


def known(name: str) -> KnownKey | None:
    """Return the entry for the key of that name; None for a key that no pypicloud had."""
    return _BY_NAME.get(name) or next(
        (family for family in _FAMILIES if name.startswith(family.name)), None
    )


def are_first_generation(names: Iterable[str]) -> bool:
    """Return whether these are the keys of a pypicloud 0.1: its `aws.bucket`, and none that came
    later.

    One key of a later version (for example `auth.admins` or `pypi.default_read`) is enough for the
    defaults of later versions, which allow less.
    """
    found = [name for name in names if not name.startswith(("user.", *_FRAMEWORKS))]
    families = {each.name if (each := known(name)) else name for name in found}
    return "aws.bucket" in found and families <= _FIRST


def names() -> Iterator[str]:
    """Return the names of all keys that are not families."""
    return (known.name for known in KEYS if not known.name.endswith("."))


# The result of a translation: pypid's sections, what was left out and why, and the problems that
# stop the start.

DEFAULT = "pypicloud's default"
"""Origin of a value that the file does not set."""


@frozen
class Note:
    """A part of the file that is not taken over, or not unchanged, and the reason. `keys` as the
    file spells them; contains no value of a secret.
    """

    where: str
    keys: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return ": ".join(
            part for part in (self.where, ", ".join(map(printable, self.keys)), self.reason) if part
        )


@frozen
class TranslatedValue:
    """A value of pypid's configuration, and the pypicloud keys that it comes from."""

    entry: IniEntry
    keys: tuple[str, ...]


@define
class Ledger:
    """Collects the result of a translation. `filename` is for messages."""

    filename: str
    values: dict[str, dict[str, TranslatedValue]] = field(factory=dict)
    problems: list[ConfigProblem] = field(factory=list)
    _notes: dict[str, tuple[dict[str, None], IniEntry]] = field(factory=dict)
    """The keys for each reason, and the entry of the first of them."""

    def put(
        self, section: str, key: str, text: str, entry: IniEntry | None = None, *keys: str
    ) -> None:
        """Set a key of pypid's to a value that comes from `entry`, or is pypicloud's default."""
        where = (
            IniEntry(text, DEFAULT) if entry is None else IniEntry(text, entry.where, entry.line)
        )
        self.values.setdefault(section, {})[key] = TranslatedValue(where, keys)

    def note(self, reason: str, entry: IniEntry | None, *keys: str) -> None:
        """Record that keys are not taken over, or changed; one note for each reason."""
        found, _ = self._notes.setdefault(reason, ({}, entry or IniEntry("", self.filename)))
        found.update(dict.fromkeys(keys))

    def refuse(self, message: str, entry: IniEntry, key: str, section: str = "") -> None:
        """Record a problem that stops the start."""
        self.problems.append(
            ConfigProblem(entry.where, entry.line, printable(section), printable(key), message)
        )

    def accounted(self) -> frozenset[str]:
        """Return the pypicloud keys that have a translation, a note or a problem."""
        translated = {
            key for section in self.values.values() for one in section.values() for key in one.keys
        }
        noted = {key for keys, _ in self._notes.values() for key in keys}
        return frozenset(translated | noted | {problem.key or "" for problem in self.problems})

    @property
    def notes(self) -> tuple[Note, ...]:
        """All notes, in the order of the file."""
        made = [
            (entry, Note("" if entry.origin in keys else entry.origin, tuple(keys), reason))
            for reason, (keys, entry) in self._notes.items()
        ]
        return tuple(
            note
            for _, note in sorted(made, key=lambda pair: (pair[0].line is None, pair[0].line or 0))
        )

    def sections(self) -> Mapping[str, IniSection]:
        """Return the translated sections, in the format of `ini.read`."""
        return {
            name: IniSection(
                min((one.entry.line or 1 for one in values.values()), default=1),
                {key: one.entry for key, one in values.items()},
            )
            for name, values in self.values.items()
        }
