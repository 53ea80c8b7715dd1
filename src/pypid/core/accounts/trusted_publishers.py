"""Trusted publishing: the rules of ``[issuer:*] allow``, and the projects that the claims of an
identity token may publish.

A rule is ``<project glob> <claim>=<value glob> <claim>=<value glob> ... [as_user=<user>]``: all its
claims must match. A rule that lets strangers publish is refused: any user can get a token from
GitHub, so a rule must at least name the owner of the repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from pypid.core.configuration.ini import printable
from pypid.core.configuration.values import GLOB
from pypid.core.errors import shortened
from pypid.core.permissions import account_name

AS_USER = "as_user="
LONGEST_USER = 200
"""Maximum characters of the text that identifies a workflow in lists and in the audit log."""
REPORTED_CLAIMS = (
    "repository",
    "ref",
    "sha",
    "workflow_ref",
    "job_workflow_ref",
    "environment",
    "run_id",
    "project_path",
    "pipeline_id",
    "job_id",
)
"""Claims that are stored with each token, and reported to a client that matches no rule."""

_WILD = re.compile(r"[*?\[]")
_CLAIM = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]*\Z")


class Forge(Enum):
    """Issuers whose claims are known. The value is the name in messages."""

    GITHUB = "GitHub"
    GITLAB = "GitLab"
    OTHER = "this issuer"


_OWNERS = {
    Forge.GITHUB: ("repository", "repository_owner", "sub", "repository_id", "repository_owner_id"),
    Forge.GITLAB: ("project_path", "namespace_path", "sub", "project_id", "namespace_id"),
}
"""The claims that identify the owner of the workflow."""
_SUBJECTS = ("repo:", "repository:", "project_path:")
"""Prefixes of a ``sub`` that identifies the owner: on request GitHub makes it of other claims,
perhaps of the environment alone.
"""
_EVERYBODYS = frozenset({"aud", "iss", "exp", "nbf", "iat", "jti"})
"""The claims that say nothing about the owner; they are checked anyway."""


def forge_of(name: str, url: str) -> Forge:
    """Return the forge of the section ``[issuer:<name>]``; `Forge.OTHER` if it is unknown."""
    address = urlsplit(url)
    for forge in (Forge.GITHUB, Forge.GITLAB):
        if forge.value.lower() in f"{name} {address.hostname or ''}".lower():
            return forge
    # GitHub Enterprise Server has its issuer at a path of its own
    return Forge.GITHUB if address.path.rstrip("/").endswith("/_services/token") else Forge.OTHER


@frozen
class ClaimCondition:
    """The condition on one claim."""

    claim: str
    glob: str

    @property
    def is_firm(self) -> bool:
        """Whether strangers cannot choose a matching name: everything up to the first ``/`` is
        given (``acme/*``, not ``acme*``).
        """
        wild = _WILD.search(self.glob)
        return wild is None or "/" in self.glob[: wild.start()]

    @property
    def says_nothing(self) -> bool:
        """Whether every value matches."""
        return not self.glob.strip("*?")

    def fits(self, value: object) -> bool:
        """Return whether a claim's value matches; for a list, whether one item does."""
        if isinstance(value, list | tuple):
            return any(self.fits(item) for item in value if not isinstance(item, list | tuple))
        text = _text(value)
        return text is not None and fnmatchcase(text, self.glob)


def _text(value: object) -> str | None:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            return None


@frozen
class Allowance:
    """One rule: a token that meets all conditions may publish the projects that match the glob.
    Projects that its client publishes first belong to `as_user`.
    """

    projects: str
    conditions: tuple[ClaimCondition, ...]
    as_user: str | None = None

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Return whether the claims meet all the conditions."""
        return all(
            each.claim in claims and each.fits(claims[each.claim]) for each in self.conditions
        )


def parse_allowance(text: str, forge: Forge) -> Allowance:
    """Parse one line of ``allow``. Raises `ValueError` with the reason and the correction."""
    projects, *rest = text.split() or [""]
    if "=" in projects:
        shown = shortened(printable(projects))
        raise ValueError(
            f"a rule begins with the projects, then come the claims: <project glob> {shown}"
        )
    try:
        GLOB.parse(projects)
    except ValueError:
        raise ValueError(
            f"{shortened(printable(projects))!r} is no glob of projects; allowed: {GLOB.allowed}"
        ) from None
    users = [word.removeprefix(AS_USER) for word in rest if word.startswith(AS_USER)]
    if len(users) > 1:
        raise ValueError(f"{AS_USER} is given twice; a rule names one user")
    conditions = tuple(_condition(word) for word in rest if not word.startswith(AS_USER))
    claims = [condition.claim for condition in conditions]
    twice = next((claim for claim in claims if claims.count(claim) > 1), None)
    if twice is not None:
        raise ValueError(
            f"{twice} is there twice, and both would have to fit; write a line for each"
        )
    _require_owner(conditions, forge)
    return Allowance(projects, conditions, account_name(users[0]) if users else None)


def _condition(word: str) -> ClaimCondition:
    claim, equals, glob = word.partition("=")
    if not equals or not glob:
        advice = "a claim has a value, <claim>=<value glob>, and a blank in a value is written as ?"
        raise ValueError(f"{shortened(printable(word))!r} is none: {advice}")
    if not _CLAIM.match(claim):
        raise ValueError(f"{shortened(printable(claim))!r} is no name of a claim")
    return ClaimCondition(claim, glob)


def _require_owner(conditions: Sequence[ClaimCondition], forge: Forge) -> None:
    owners = _OWNERS.get(forge)
    if owners is None:
        if all(each.claim in _EVERYBODYS or each.says_nothing for each in conditions):
            raise ValueError(
                "everybody with a token of this issuer could publish; name a claim that only the "
                "right ones have, like sub="
            )
        return
    about_owner = [each for each in conditions if each.claim in owners]
    if not about_owner:
        advice = f"add one of {', '.join(f'{owner}=' for owner in owners)}"
        raise ValueError(f"everybody on {forge.value} could publish; {advice}")
    if not any(
        each.is_firm and (each.claim != "sub" or each.glob.startswith(_SUBJECTS))
        for each in about_owner
    ):
        which = about_owner[0]
        start = " and begin with repo: or project_path:" if which.claim == "sub" else ""
        raise ValueError(
            f"strangers could choose a name that fits {which.claim}={shortened(which.glob)};"
            f" say all up to the first / (acme/*){start}"
        )


def issuer_problems(name: str, url: str | None, lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the problems of ``[issuer:<name>]``: key and reason. `lines`: its ``allow`` rules."""
    if url is None:
        if lines:
            yield "url", "the rules of allow are about tokens of an issuer; say its url"
        return
    if not is_safe(url):
        yield (
            "url",
            "keys that come over http can be forged: an issuer's URL is https (http on this "
            "machine only)",
        )
    for number, line in enumerate(lines, 1):
        try:
            parse_allowance(line, forge_of(name, url))
        except ValueError as error:
            yield "allow", f"rule {number}, {shortened(printable(line))!r}: {error}"


def is_safe(url: str) -> bool:
    """Return whether the server behind the URL is authenticated: by https, or on this machine."""
    address = urlsplit(url)
    return address.scheme == "https" or (
        address.scheme == "http" and address.hostname in ("127.0.0.1", "::1", "localhost")
    )


def allowed_projects(allowances: Iterable[Allowance], claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the globs of projects that a client with these proven claims may publish."""
    return tuple(dict.fromkeys(each.projects for each in allowances if each.fits(claims)))


def user_of(allowances: Iterable[Allowance], claims: Mapping[str, Any]) -> str | None:
    """Return the user for whom a client with these verified claims publishes; None if the matching
    rules do not all name the same user.
    """
    users = {each.as_user for each in allowances if each.fits(claims)}
    return users.pop() if len(users) == 1 else None


def users_of(name: str, url: str | None, lines: Sequence[str]) -> frozenset[str]:
    """Return the users whom the rules of a section ``[issuer:<name>]`` name."""
    rules = [parse_allowance(line, forge_of(name, url or "")) for line in lines]
    return frozenset(rule.as_user for rule in rules if rule.as_user is not None)


def publisher_of(issuer: str, subject: str) -> str:
    """Return the text that identifies a workflow: the issuer's name in the configuration, and its
    ``sub``. It is not an account name.
    """
    return printable(f"{issuer}:{subject}", LONGEST_USER)[:LONGEST_USER]


def reported_claims(claims: Mapping[str, Any]) -> dict[str, str]:
    """Return the claims that are in `REPORTED_CLAIMS`, sanitised for display."""
    found = ((name, _text(claims.get(name))) for name in REPORTED_CLAIMS)
    return {name: printable(text, LONGEST_USER)[:LONGEST_USER] for name, text in found if text}
