"""The result of a translation: pypid's sections, what was left out and why, and the problems that
stop the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

from pypid.core.configuration.ini import IniEntry, IniSection, printable
from pypid.core.errors import ConfigProblem

DEFAULT = "pypicloud's default"
"""Origin of a value that the file does not set."""


@frozen
class Note:
    """A part of the file that is not taken over, or not unchanged, and the reason. `keys` as the
    file spells them; contains no value of a secret.
    """

    where: str
    keys: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return ": ".join(
            part for part in (self.where, ", ".join(map(printable, self.keys)), self.reason) if part
        )


@frozen
class TranslatedValue:
    """A value of pypid's configuration, and the pypicloud keys that it comes from."""

    entry: IniEntry
    keys: tuple[str, ...]


@define
class Ledger:
    """Collects the result of a translation. `filename` is for messages."""

    filename: str
    values: dict[str, dict[str, TranslatedValue]] = field(factory=dict)
    problems: list[ConfigProblem] = field(factory=list)
    accounts: IniEntry | None = None
    """The URL of pypicloud's accounts database."""
    _notes: dict[str, tuple[dict[str, None], IniEntry]] = field(factory=dict)
    """The keys for each reason, and the entry of the first of them."""

    def put(
        self, section: str, key: str, text: str, entry: IniEntry | None = None, *keys: str
    ) -> None:
        """Set a key of pypid's to a value that comes from `entry`, or is pypicloud's default."""
        where = (
            IniEntry(text, DEFAULT) if entry is None else IniEntry(text, entry.where, entry.line)
        )
        self.values.setdefault(section, {})[key] = TranslatedValue(where, keys)

    def note(self, reason: str, entry: IniEntry | None, *keys: str) -> None:
        """Record that keys are not taken over, or not unchanged; keys with the same reason share
        one note.
        """
        found, _ = self._notes.setdefault(reason, ({}, entry or IniEntry("", self.filename)))
        found.update(dict.fromkeys(keys))

    def refuse(self, message: str, entry: IniEntry, key: str, section: str = "") -> None:
        """Record a problem that stops the start."""
        self.problems.append(
            ConfigProblem(entry.where, entry.line, printable(section), printable(key), message)
        )

    def accounted(self) -> frozenset[str]:
        """Return the pypicloud keys that have a translation, a note or a problem."""
        translated = {
            key for section in self.values.values() for one in section.values() for key in one.keys
        }
        noted = {key for keys, _ in self._notes.values() for key in keys}
        return frozenset(translated | noted | {problem.key or "" for problem in self.problems})

    @property
    def notes(self) -> tuple[Note, ...]:
        """All notes, in the order of the file."""
        made = [
            (entry, Note("" if entry.origin in keys else entry.origin, tuple(keys), reason))
            for reason, (keys, entry) in self._notes.items()
        ]
        return tuple(
            note
            for _, note in sorted(made, key=lambda pair: (pair[0].line is None, pair[0].line or 0))
        )

    def sections(self) -> Mapping[str, IniSection]:
        """Return the translated sections, in the format of `ini.read`."""
        return {
            name: IniSection(
                min((one.entry.line or 1 for one in values.values()), default=1),
                _entries(values.items()),
            )
            for name, values in self.values.items()
        }


def _entries(values: Iterable[tuple[str, TranslatedValue]]) -> Mapping[str, IniEntry]:
    return {key: one.entry for key, one in values}
