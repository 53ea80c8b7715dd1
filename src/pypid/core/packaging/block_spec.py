"""What a block names: ``acme``, ``acme==1.2``, ``acme>=1,<2`` or ``sha256:<digest>``. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import field, frozen

from pypid.core.errors import BadRequest, shortened
from pypid.core.packaging.names import ProjectName, valid_name, version_of

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

LONGEST = 2000
"""Maximum number of characters."""
MOST_CLAUSES = 50
"""Maximum number of clauses of a version specifier (``>=1,<2`` has two)."""
_NAME = re.compile(r"[A-Za-z0-9._-]++")
_DIGEST = re.compile(r"sha256:([0-9A-Fa-f]{64})\Z")


@frozen
class BlockSpec:
    """A project (`versions` "": all of its versions), or the SHA-256 of a file of any project.
    Equal specs block the same.
    """

    project: ProjectName | None = None
    versions: str = field(default="", eq=False)
    """A version specifier (PEP 440) in the order in which it was written."""
    sha256: str | None = None
    _specifier: SpecifierSet | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The spec in its normal form."""
        return f"sha256:{self.sha256}" if self.project is None else f"{self.project}{self.versions}"

    def includes(self, version: str) -> bool:
        """Return whether the spec names this version of its project, pre-releases included. A
        version that is not valid (PEP 440) is in no specifier, but for ``===``.
        """
        if self._specifier is None:
            return True
        try:
            return self._specifier.contains(version_of(version), prereleases=True)
        except ValueError:
            return any(
                clause.operator == "===" and clause.version.lower() == version.lower()
                for clause in self._specifier
            )


def parse_block_spec(text: str) -> BlockSpec:
    """Return the spec. Takes time linear in the length of `text`. Raises `BadRequest`."""
    text = text.strip()
    if len(text) > LONGEST:
        raise BadRequest(f"A block has at most {LONGEST} characters.")
    digest = _DIGEST.match(text)
    if digest is not None:
        return BlockSpec(sha256=digest[1].lower())
    name = _NAME.match(text)
    project = None if name is None else valid_name(name[0])
    if name is None or project is None:
        raise _bad(text)
    rest = text[name.end() :].strip()
    return BlockSpec(project) if not rest else _of_versions(text, project, rest)


def _of_versions(text: str, project: ProjectName, rest: str) -> BlockSpec:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # imported late: rarely needed

    if rest.count(",") >= MOST_CLAUSES:
        raise BadRequest(f"A block has at most {MOST_CLAUSES} versions: create several.")
    try:
        specifier = SpecifierSet(rest)
    except InvalidSpecifier:
        raise _bad(text) from None
    if not specifier:  # commas alone
        raise _bad(text)
    return BlockSpec(project, tidy_specifier(rest), specifier=specifier)


def tidy_specifier(text: str) -> str:
    """Return a valid version specifier without spaces and repetitions, in the order in which it was
    written: `SpecifierSet` sorts ``>=1,<2`` as ``<2,>=1``.
    """
    from packaging.specifiers import Specifier  # imported late: rarely needed

    clauses = [str(Specifier(clause)) for clause in text.split(",") if clause.strip()]
    return ",".join(dict.fromkeys(clauses))


def _bad(text: str) -> BadRequest:
    return BadRequest(
        f"{shortened(text, 80)!r} names nothing to block: write a project (acme), versions of it "
        "(acme==1.2 or 'acme>=1,<2') or the digest of a file (sha256:<64 hex digits>)."
    )
