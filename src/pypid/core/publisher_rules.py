"""The rules of ``[trust]`` about the publishers of files, as the configuration has them."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from pypid.core.packaging.globs import first_match
from pypid.core.packaging.names import ProjectName

SERVICES = ("github", "gitlab", "google", "circleci", "*")
"""The services of publishers, before the colon; `*` alone is any publisher."""


class Ratchet(Enum):
    """What happens to a file that is not attested by the publishers of its project so far."""

    WARN = "warn"
    HOLD = "hold"
    OFF = "off"


@frozen
class RequiredPublisher:
    """A rule of ``require``: the publishers of projects, each a name or a glob."""

    projects: str
    publisher: str


@frozen
class TrustRules:
    """The rules of ``[trust]``."""

    require: tuple[RequiredPublisher, ...] = ()
    ratchet: Ratchet = Ratchet.OFF

    def required(self, name: ProjectName) -> tuple[str, ...]:
        """Return the publishers that the project's files need, of which one suffices: those of the
        first entry that the name matches, and of the others with the same name or glob.
        """
        found = first_match(name, dict.fromkeys(rule.projects for rule in self.require))
        return tuple(rule.publisher for rule in self.require if rule.projects == found)
