"""The part of the configuration that routes need, and the control of the log level."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from pypid.core.accounts.registration import AccountSettings
from pypid.web.app.name_budget import NameBudget

LOG_LEVEL = "log-level"
"""The kind of the message that tells all workers the log level: ``level``, None for the configured
one.
"""


class LogLevelControl(Protocol):
    """The log level: the `configured` one and the one `in_force`."""

    configured: str
    in_force: str

    def use(self, level: str | None) -> None:
        """Set the log level; None restores the configured one."""


@frozen(kw_only=True)
class AppSettings:
    """The part of the configuration that routes need. `max_upload` is in bytes; `spool` is the
    folder of uploads in progress.
    """

    spool: Path
    max_upload: int
    public_url: str | None = None
    storage_folder: Path | None = None
    """The storage folder, if the storage is a folder; files that can be adopted are in it."""
    max_cache: int | None = None
    """Maximum size of the cache of upstream files, in bytes."""
    people: AccountSettings = AccountSettings()
    """Who may create an account, and how long a session lasts."""
    certificate: Path | None = None
    """The TLS certificate chain."""
    configuration_name: str = ""
    """The configuration file that was read at the start, or ``built-in defaults``."""
    address: str = ""
    """The configured URL, or the first address that pypid listens on."""
    place: str = "in memory"
    """Where the files are stored, for display: a folder or ``s3://bucket/prefix``; no secret."""
    unknown_names: NameBudget = NameBudget()
    """How many names that were never asked upstream an address may ask for without a login."""
    redirects_upstream: bool = True
    """Whether clients may be redirected to upstream URLs (`[upstream] mode = redirect`), unless a
    client runs on this machine.
    """
    indexes: tuple[str, ...] = ()
    """The URLs of the other indexes, without user names and passwords."""
    named_upstreams: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """The URLs of each `[upstream:NAME]`, likewise."""
    cdn: str | None = None
    """The domain of the content delivery network in front of the bucket."""
