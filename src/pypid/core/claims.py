"""The names that are local by the rules of projects, even if nothing is published yet."""

from __future__ import annotations

from attrs import define

from pypid.core.packaging.globs import NameSet


class EveryName:
    """The set of all possible names."""

    def __contains__(self, name: object) -> bool:
        return True


EVERY_NAME = EveryName()
"""The claims while the rules are unknown: any name may be local."""
NO_NAMES = NameSet()


@define(eq=False)
class Claims:
    """The names that are local by their own rules, even if nothing is published yet
    (`core.accounts.rights.claimed`).

    The set is replaced as a whole when the rules change.
    """

    names: NameSet | EveryName = NO_NAMES

    def replace(self, names: NameSet | EveryName) -> None:
        """Replace the names, after a change of the rules."""
        self.names = names
