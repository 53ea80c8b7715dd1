"""The words that keys of the configuration choose from; the values are as an INI
file spells them.
"""

from __future__ import annotations

from enum import Enum


class Tls(Enum):
    """TLS versions that may be demanded."""

    V1_2 = "1.2"
    V1_3 = "1.3"


class StorageBackend(Enum):
    """Where the bytes lie."""

    FILES = "files"
    S3 = "s3"
    MEMORY = "memory"


class Layout(Enum):
    """Where new files lie in the storage; see `core.records.layout.Plan`."""

    PYPID = "pypid"
    PYPICLOUD = "pypicloud"


class Addressing(Enum):
    """How S3 URLs name the bucket."""

    AUTO = "auto"
    PATH = "path"
    VIRTUAL = "virtual"


class Encryption(Enum):
    """S3's server-side encryption."""

    AES256 = "AES256"
    KMS = "aws:kms"


class CatalogStore(Enum):
    """Where the catalog lives."""

    MEMORY = "memory"
    SQL = "sql"
    REDIS = "redis"


class Mode(Enum):
    """What is done about projects that are not ours."""

    CACHE = "cache"
    REDIRECT = "redirect"
    MIRROR = "mirror"
    OFFLINE = "offline"


class AccessStore(Enum):
    """Where users and their rights come from."""

    CONFIG = "config"
    SQL = "sql"
    LDAP = "ldap"
    REMOTE = "remote"


class Needed(Enum):
    """What somebody must be allowed to do to a project anyway."""

    READ = "read"
    WRITE = "write"


class Registration(Enum):
    """Who may make an account."""

    CLOSED = "closed"
    APPROVAL = "approval"
    TOKEN = "token"
    OPEN = "open"


class Linking(Enum):
    """How files come into published pages."""

    LINK = "link"
    COPY = "copy"


class Level(Enum):
    """What is logged: this and everything graver (the words of twisted.logger)."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    CRITICAL = "critical"


class LogFormat(Enum):
    """How the log is written."""

    TEXT = "text"
    JSON = "json"
