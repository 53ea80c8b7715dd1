"""OpenVEX documents (https://openvex.dev/): the company's statements that an advisory does not
apply to a project, which mute it.
"""

from __future__ import annotations

from urllib.parse import unquote

import msgspec

from pypid.core.advisories.osv import AdvisorySummary, Candidate, InvalidRecord, canonical
from pypid.core.errors import BadName
from pypid.core.packaging.names import ProjectName, project_name

MUTING = ("not_affected", "fixed")
"""The statuses that mute an advisory."""
MOST_STATEMENTS = 10_000
"""Statements of one document."""
_PURL = "pkg:pypi/"


class VexProduct(msgspec.Struct, frozen=True):
    """A product, or a component of one, by its package URL."""

    id: str = msgspec.field(name="@id", default="")
    identifiers: dict[str, str] | None = None
    subcomponents: list[VexProduct] | None = None


class VexVulnerability(msgspec.Struct, frozen=True):
    """The vulnerability of a statement: its name, and further names."""

    name: str = ""
    aliases: list[str] | None = None


class VexStatement(msgspec.Struct, frozen=True):
    """What the document says of some products."""

    vulnerability: VexVulnerability | str = ""
    status: str = ""
    products: list[VexProduct] | None = None


class VexDocument(msgspec.Struct, frozen=True):
    """An OpenVEX document, as far as pypid uses it."""

    context: str = msgspec.field(name="@context")
    statements: list[VexStatement] | None = None


class Mute(msgspec.Struct, frozen=True, array_like=True):
    """An advisory that does not count for a project, by its id or an alias."""

    ids: tuple[str, ...]
    version: str = ""
    """The version that it does not count for, spelled as `canonical` does; "": all versions."""

    def mutes(self, advisory: AdvisorySummary, candidate: Candidate) -> bool:
        """Return whether this mutes the advisory for a version."""
        names = (advisory.id, *advisory.aliases)
        if not any(id in names for id in self.ids):
            return False
        return not self.version or self.version in candidate.spellings


def is_vex(document: object) -> bool:
    """Return whether a decoded document says that it is one of OpenVEX."""
    context = document.get("@context") if isinstance(document, dict) else None
    return isinstance(context, str) and "openvex" in context


def mutes_of(document: object) -> list[tuple[ProjectName, Mute]]:
    """Return what a decoded OpenVEX document mutes. Raises `InvalidRecord`."""
    try:
        statements = msgspec.convert(document, VexDocument).statements or []
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRecord(f"no OpenVEX document: {error}") from None
    if len(statements) > MOST_STATEMENTS:
        raise InvalidRecord(f"it has more than {MOST_STATEMENTS} statements")
    found: dict[tuple[ProjectName, Mute], None] = {}
    for statement in statements:
        if statement.status in MUTING:
            ids = _ids(statement.vulnerability)
            for product in statement.products or ():
                # a statement about components says nothing of the product without them
                for component in product.subcomponents or [product]:
                    for name, version in _packages(component):
                        found[name, Mute(ids, canonical(version) if version else "")] = None
    return list(found)


def _ids(vulnerability: VexVulnerability | str) -> tuple[str, ...]:
    if isinstance(vulnerability, str):  # OpenVEX 0.0
        return (vulnerability,)
    return (vulnerability.name, *(vulnerability.aliases or ()))


def _packages(product: VexProduct) -> list[tuple[ProjectName, str]]:
    """Return project and version of each package URL of PyPI that names the product."""
    found = []
    for purl in {product.id, *(product.identifiers or {}).values()}:
        if purl.startswith(_PURL):
            name, _, version = purl.removeprefix(_PURL).partition("?")[0].partition("@")
            try:
                found.append((project_name(unquote(name)), unquote(version)))
            except BadName:
                continue
    return found
