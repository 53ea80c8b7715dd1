"""The access rules of the named indexes. They are computed from those of the default index once for
each change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet

from attrs import define, field, frozen

from pypid.core.indexes import DEFAULT, IndexSettings, bases_of, rules_of
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import EVERYONE, Rules
from pypid.flow.signals import Signal
from pypid.index import Index
from pypid.index.named_indexes import NamedIndexes


class NoNamedIndexes:
    """The named indexes of an app that has none."""

    settings: Mapping[str, IndexSettings] = {}
    changed: Signal[[]] = Signal()

    def get(self, name: str) -> Index | None:
        """Return None."""
        return None

    async def indexes_with(self, name: ProjectName) -> AbstractSet[str]:
        """Return no index."""
        return frozenset()


@frozen(eq=False)
class IndexRules:
    """The rules of one index, and the values from which they were computed."""

    settings: IndexSettings
    default: Rules
    rules: Rules


@define(eq=False)
class IndexAccess:
    """The access rules of each index. The argument `default` is always the rules of the default
    index.
    """

    indexes: NamedIndexes | NoNamedIndexes
    _made: dict[str, IndexRules] = field(factory=dict, init=False, repr=False)
    _settings: Mapping[str, IndexSettings] = field(factory=dict, init=False, repr=False)
    _mixed: dict[str, Collection[str]] = field(factory=dict, init=False, repr=False)
    """The results of `mixed_bases` for these settings."""

    def rules(self, name: str, default: Rules) -> Rules:
        """Return the rules of the index; those of the default index for any other name (`default`,
        `public`).
        """
        settings = self.indexes.settings.get(name)
        if settings is None:
            self._made.pop(name, None)
            return default
        made = self._made.get(name)
        if made is None or made.settings is not settings or made.default is not default:
            rules = rules_of(default, settings)
            made = self._made[name] = IndexRules(settings, default, rules)
        return made.rules

    def mixed_bases(self, name: str) -> Collection[str]:
        """Return the bases of the index (empty: the default index) whose files may be on one page
        with those of another index.
        """
        settings = self.indexes.settings
        if settings is not self._settings:
            self._settings, self._mixed = settings, {}
        if name not in self._mixed:
            bases = self.bases(name)
            together = [settings[each] for each in (name, *bases) if each in settings]
            is_mixed = any(each.merge or each.allow_mixed for each in together)
            self._mixed[name] = bases if is_mixed else ()
        return self._mixed[name]

    def bases(self, name: str) -> tuple[str, ...]:
        """Return the bases of the index, and their bases, as far as they have local projects (empty
        name: the default index).
        """
        settings = self.indexes.settings
        found = bases_of(name, settings).intersection((*settings, DEFAULT))
        return tuple("" if each == DEFAULT else each for each in sorted(found))

    def may_all_read_bases(self, name: str) -> bool:
        """Return whether no base of the index sets `read` to less than everyone."""
        settings = self.indexes.settings
        bases = bases_of(name, settings).intersection(settings)
        return all(settings[base].read in (None, EVERYONE) for base in bases)
