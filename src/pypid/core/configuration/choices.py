"""Enumerations for keys of the configuration; the values are as an INI file spells them."""

from __future__ import annotations

import re
from enum import Enum


class Tls(Enum):
    """Minimum TLS versions."""

    V1_2 = "1.2"
    V1_3 = "1.3"


class StorageBackend(Enum):
    """Kinds of storage for the files."""

    FILES = "files"
    S3 = "s3"
    MEMORY = "memory"


class UrlCache(Enum):
    """Places of signed URLs."""

    MEMORY = "memory"
    DATABASE = "database"
    REDIS = "redis"


class Addressing(Enum):
    """Ways to name the bucket in S3 URLs."""

    AUTO = "auto"
    PATH = "path"
    VIRTUAL = "virtual"


class Encryption(Enum):
    """S3's server-side encryption."""

    AES256 = "AES256"
    KMS = "aws:kms"


class Mode(Enum):
    """Treatments of projects that are not local."""

    CACHE = "cache"
    REDIRECT = "redirect"
    MIRROR = "mirror"
    OFFLINE = "offline"


class NewProjects(Enum):
    """Treatments of upstream projects that were never installed here."""

    OPEN = "open"
    ASK = "ask"


class Owners(Enum):
    """Owners of new local projects."""

    UPLOADER = "uploader"
    NONE = "none"


class AccessStore(Enum):
    """Sources of users and their rights."""

    CONFIG = "config"
    SQL = "sql"
    LDAP = "ldap"


class Needed(Enum):
    """Rights on a project that a user must have as well."""

    READ = "read"
    WRITE = "write"


class Registration(Enum):
    """Modes of self-registration."""

    CLOSED = "closed"
    APPROVAL = "approval"
    TOKEN = "token"
    OPEN = "open"


class Level(Enum):
    """Minimum severities of log messages (the words of twisted.logger)."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    CRITICAL = "critical"


class LogFormat(Enum):
    """Formats of the log."""

    TEXT = "text"
    JSON = "json"


class BlockedAdvisories(Enum):
    """What `[advisories] block` hides upstream files for; a severity includes those above it."""

    MALWARE = "malware"
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NOTHING = "nothing"


# Names of S3 buckets and regions, as permissive as any store.

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]\Z")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
BUCKET_RULE = (
    "3 or more letters, digits, '.', '-' or '_', a letter or digit first and last; no slash (that "
    "is the prefix), and no directory bucket (S3 Express), which does not list in order"
)


def is_bucket_name(text: str) -> bool:
    """Return whether some store may have a bucket of this name (AWS's rules are stricter now)."""
    return _BUCKET.match(text) is not None and not text.endswith("--x-s3")


def is_region_name(text: str) -> bool:
    """Return whether some store may have a region of this name."""
    return _REGION.match(text) is not None
