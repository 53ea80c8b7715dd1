"""Requests and answers of the OSV API (https://google.github.io/osv.dev/api/), as ``pip-audit`` and
``uv audit`` use it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec
from attrs import frozen

from pypid.core.advisories.osv import ECOSYSTEM
from pypid.core.errors import BadName, BadRequest
from pypid.core.packaging.names import ProjectName, project_name

MOST_QUERIES = 1000
"""Queries in one batch, as in the OSV API."""
MOST_FOUND = 1000
"""Advisories in one answer to a query; a page token leads to the others."""
LONGEST_VERSION = 256
"""Characters of a version; no release has a longer one."""

_PURL = "pkg:pypi/"
_ALWAYS_SHOWN = ("schema_version", "id", "published", "modified", "withdrawn", "severity")
"""The keys of a private record that say nothing of the projects that it names."""


class OsvQueryPackage(msgspec.Struct):
    """The package of a query: by name and ecosystem, or by its package URL."""

    name: str = ""
    ecosystem: str = ""
    purl: str = ""


class OsvQuery(msgspec.Struct):
    """A query. Without a version, all advisories of the package are found."""

    package: OsvQueryPackage | None = None
    version: str | None = None
    commit: str | None = None
    page_token: str | None = None


class OsvBatch(msgspec.Struct):
    """Several queries, answered in their order."""

    queries: list[OsvQuery] = []


@frozen
class OsvTarget:
    """What a query asks for. `project` None: nothing that this index has advisories of."""

    project: ProjectName | None
    version: str | None = None
    skip: int = 0
    """Advisories that earlier pages contained."""


def target_of(query: OsvQuery) -> OsvTarget:
    """Return what a query asks for. Raises `BadRequest` for an invalid query."""
    if (query.package is None) == (query.commit is None):
        raise BadRequest("A query has either a package or a commit.")
    if query.package is None:
        return OsvTarget(None)
    name, version = _named(query.package, query.version)
    return OsvTarget(name, version, _skipped(query.page_token))


def _named(package: OsvQueryPackage, version: str | None) -> tuple[ProjectName | None, str | None]:
    name, ecosystem = package.name, package.ecosystem
    if package.purl:
        if name or ecosystem:
            raise BadRequest("A package is named by its name and ecosystem, or by its purl.")
        rest = package.purl.partition("?")[0].partition("#")[0]
        name, _, of_purl = rest.removeprefix(_PURL).partition("@")
        if version and of_purl:
            raise BadRequest("A query has one version: in its purl, or beside it.")
        name, version = unquote(name), version or unquote(of_purl)
        ecosystem = ECOSYSTEM if rest.startswith(_PURL) else "other"
    if not name or not ecosystem:
        raise BadRequest("A package has a name and an ecosystem, such as PyPI.")
    if ecosystem != ECOSYSTEM or len(version or "") > LONGEST_VERSION:
        return None, None
    try:
        return project_name(name), version or None
    except BadName:
        return None, None


def _skipped(token: str | None) -> int:
    if not token:
        return 0
    if len(token) > 9 or not (token.isascii() and token.isdigit()):
        raise BadRequest("This page_token is not from this server: begin without one.")
    return int(token)


def token_of(skip: int) -> str:
    """Return the page token for the advisories after the first `skip`."""
    return str(skip)


def visible_record(
    document: bytes, projects: Sequence[ProjectName], sees: Callable[[ProjectName], bool]
) -> bytes | None:
    """Return a private record as far as a viewer may see it: None if the viewer may read none of
    its projects.

    A record that also names projects which the viewer may not read loses them, and all text,
    since text may name them too.
    """
    if projects and all(map(sees, projects)):
        return document
    if not any(map(sees, projects)):
        return None
    record: dict[str, Any] = msgspec.json.decode(document)
    kept = {key: record[key] for key in _ALWAYS_SHOWN if key in record}
    kept["affected"] = [
        {key: affected[key] for key in ("package", "ranges", "versions") if key in affected}
        for affected in record.get("affected") or ()
        if _is_seen(affected, sees)
    ]
    return msgspec.json.encode(kept)


def _is_seen(affected: dict[str, Any], sees: Callable[[ProjectName], bool]) -> bool:
    package = affected.get("package") or {}
    try:
        name = project_name(package.get("name") or "")
    except BadName:
        return False
    return package.get("ecosystem", "").partition(":")[0] == ECOSYSTEM and sees(name)
