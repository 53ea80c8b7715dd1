"""The settings of the pypicloud app in a file and in the environment, read like pypicloud."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from attrs import define, field, frozen

from pypid.core.configuration.ini import IniEntry
from pypid.core.pypicloud.keys import PEOPLE, SWEPT, Fate, known, names
from pypid.core.pypicloud.ledger import Ledger

PREFIX = "PPC_"
_COMMENT = re.compile(r"(?<=\s)[;#]")
_TRUE = frozenset({"t", "true", "y", "yes", "on", "1"})
_FALSE = frozenset({"f", "false", "n", "no", "off", "0", ""})


def without_comment(text: str) -> str:
    """Return `text` up to a comment that begins with ``;`` or ``#`` after white space.

    Python 2's ConfigParser dropped the first kind, and the README of pypicloud 0.1 shows the
    second.
    """
    return _COMMENT.split(text, maxsplit=1)[0].strip()


def variable(name: str) -> str:
    """Return the environment variable for a key: ``PPC_PYPI_FALLBACK`` for ``pypi.fallback``."""
    return PREFIX + name.upper().replace(".", "_")


def asbool(text: str) -> bool:
    """Return whether the text means yes to Pyramid's settings: every other text means no."""
    return text.strip().lower() in _TRUE


def is_boolean(text: str) -> bool:
    """Return whether the text is a word that Pyramid's settings read as yes or no."""
    return text.strip().lower() in _TRUE | _FALSE


@frozen
class Setting:
    """A key of the app that is set, as the file or the environment spells it, and its value."""

    key: str
    entry: IniEntry

    @property
    def text(self) -> str:
        """The value without white space around it."""
        return self.entry.text.strip()


def origin_of(setting: Setting | None) -> tuple[IniEntry, str] | tuple[()]:
    """Return the last arguments of `Ledger.put` for a value that comes from the setting."""
    return (setting.entry, setting.key) if setting else ()


@define
class PypicloudSettings:
    """The keys of the app, by name. A key that is requested counts as accounted for."""

    ledger: Ledger
    found: Mapping[str, IniEntry]
    broken: Mapping[str, str]
    """Why the values of some keys are not available (interpolation)."""
    is_first_generation: bool = False
    """Whether the names are those of pypicloud 0.1 (`keys.are_first_generation`)."""
    _used: set[str] = field(factory=set)

    def find(self, *spellings: str) -> Setting | None:
        """Return the first of these keys that is set; a value that is not available is refused."""
        there = [name for name in spellings if name in self.found]
        self._used.update(there)
        if not there:
            return None
        first, *others = there
        if others:
            self.ledger.note(
                f"{first} sets the same, and is what counts", self.found[others[0]], *others
            )
        if first in self.broken:
            self.ledger.refuse(self.broken[first], self.found[first], first)
            return None
        return Setting(first, self.found[first])

    def text(self, *spellings: str) -> str:
        """Return the text of the first of these keys that is set, or an empty one."""
        setting = self.find(*spellings)
        return setting.text if setting else ""

    def family(self, prefix: str) -> Iterator[tuple[str, IniEntry]]:
        """Yield all keys with the prefix, by the rest of their names; values that are not available
        are refused.
        """
        for name in self.found:
            if name.startswith(prefix) and (setting := self.find(name)):
                yield name.removeprefix(prefix), setting.entry

    def ignore(self, reason: str, *prefixes: str) -> None:
        """Leave out all keys with one of the prefixes."""
        for name, entry in self.found.items():
            if name.startswith(prefixes) and name not in self._used:
                self._used.add(name)
                self.ledger.note(reason, entry, name)

    def leave_the_rest(self) -> None:
        """Account for the keys that were not requested, and for those that made no difference."""
        accounted = self.ledger.accounted()
        for name, entry in self.found.items():
            if name in self._used:
                if name not in accounted:
                    self.ledger.note("it changes nothing beside what else holds", entry, name)
                continue
            fate = known(name)
            if fate is None:
                close = get_close_matches(name[:80], names(), 1, 0.8)
                hint = (
                    f"; did you mean {close[0]}? pypicloud ignored it, too"
                    if close
                    else ", so it is ignored"
                )
                self.ledger.note(f"no pypicloud has such a key{hint}", entry, name)
            elif fate.fate is Fate.IGNORED:
                self.ledger.note(f"not taken over: {fate.text}", entry, name)
            else:
                self.ledger.note(
                    (
                        "not taken over: it is of a storage or of people that this file does not "
                        "choose"
                    ),
                    entry,
                    name,
                )


def of_environment(environ: Mapping[str, str], ledger: Ledger) -> dict[str, IniEntry]:
    """Return the values of ``PPC_*`` variables, by key. Users, groups and rights on packages come
    from the file only, as in pypicloud.
    """
    meant = {variable(name): name for name in names()}
    found: dict[str, IniEntry] = {}
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        entry = IniEntry(value, name)
        if name in meant:
            found[meant[name]] = entry
        elif any(name.startswith(variable(family)) for family in PEOPLE):
            ledger.note(
                "users, groups and rights come from the file only, as in pypicloud", entry, name
            )
        elif family := next((each for each in SWEPT if name.startswith(variable(each))), None):
            found[family + name.removeprefix(variable(family)).lower()] = entry
        else:
            ledger.note("no pypicloud has a key of this name, so it is ignored", entry, name)
    return found
