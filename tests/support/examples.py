"""Examples of the values that stores keep: projects, files, listings, accounts, log entries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pypid.core.accounts.rights import Account, AuditEntry, DownloadEntry, Session, Token
from pypid.core.model import Listing, LocalProject, Project, StoredFile, as_listed
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import Action, Scope
from tests.support.worlds import BEGINNING

SPAM = project_name("spam")
HAM = project_name("ham")
HOUR = timedelta(hours=1)


def a_file(name: ProjectName, version: str, **fields: Any) -> StoredFile:
    """Return a local file with every field set."""
    filename = f"{name}-{version}.tar.gz"
    values: dict[str, Any] = {
        "sha256": "ab" * 32,
        "size": 123,
        "uploaded": datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC),
        "requires_python": ">=3.9, <4",
        "metadata_sha256": "cd" * 32,
        "key": f"{name}/{filename}",
        "md5": "12" * 16,
        "blake2b_256": "ef" * 32,
        "uploader": "m\u00fcller",
        "summary": 'Says "spam"\n and <b>\u8de8</b>',
        "attested": True,
    }
    return StoredFile(project=name, filename=filename, version=version, **{**values, **fields})


def a_project(name: ProjectName, *versions: str, **fields: Any) -> LocalProject:
    """Return a project with files of these versions."""
    return Project(name=name, files=tuple(a_file(name, version) for version in versions), **fields)


def a_listing(name: ProjectName, *versions: str, **fields: Any) -> Listing:
    """Return an upstream listing of the project with these versions."""
    files = tuple(
        as_listed(a_file(name, version, source="https://files.example/file"))
        for version in versions
    )
    values: dict[str, Any] = {
        "confirmed": datetime(2026, 4, 4, tzinfo=UTC),
        "index": "https://index.example/simple/",
    }
    return Listing(name=name, files=files, **{**values, **fields})


def becomes(project: LocalProject | None) -> Callable[[LocalProject | None], LocalProject | None]:
    """Return an edit that replaces any state by this project."""
    return lambda _: project


def an_account(name: str, **fields: Any) -> Account:
    """Return an account created at `BEGINNING`."""
    values: dict[str, Any] = {"hash": "$hash", "created": BEGINNING, "changed": BEGINNING}
    return Account(name=name, **{**values, **fields})


def a_token(id: str, user: str = "alice", **fields: Any) -> Token:
    """Return a token for reading and writing everything; its digest is ``digest-<id>``."""
    scope = Scope(frozenset({Action.READ, Action.WRITE}))
    values: dict[str, Any] = {
        "digest": f"digest-{id}",
        "name": "of tests",
        "scope": scope,
        "created": BEGINNING,
    }
    return Token(id=id, user=user, **{**values, **fields})


def a_session(digest: str, user: str = "alice", **fields: Any) -> Session:
    """Return a session of an hour."""
    values: dict[str, Any] = {
        "created": BEGINNING,
        "expires": BEGINNING + HOUR,
        "address": "192.0.2.1",
    }
    return Session(digest=digest, user=user, **{**values, **fields})


def a_deed(number: int, **fields: Any) -> AuditEntry:
    """Return an audit entry, one of many."""
    values: dict[str, Any] = {
        "who": "alice",
        "what": "project publish",
        "subject": f"spam/spam-{number}.tar.gz",
    }
    return AuditEntry(when=BEGINNING + timedelta(seconds=number), **{**values, **fields})


def a_download(number: int, **fields: Any) -> DownloadEntry:
    """Return a download, one of many."""
    values: dict[str, Any] = {
        "sha256": "ab" * 32,
        "project": "spam",
        "filename": "spam-1.tar.gz",
        "who": "alice",
    }
    return DownloadEntry(when=BEGINNING + timedelta(seconds=number), **{**values, **fields})
