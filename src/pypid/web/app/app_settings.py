"""The part of the configuration that routes need."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from pypid.core.accounts.registration import AccountSettings
from pypid.web.app.name_budget import NameBudget


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
    trees: tuple[str, ...] = ()
    """The folders and buckets that `[publish]` keeps up to date."""
    cdn: str | None = None
    """The domain of the content delivery network in front of the bucket."""
