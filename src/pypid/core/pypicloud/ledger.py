"""What a translation says: our sections, what it left out and why, and what stops it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

from pypid.core.errors import ConfigProblem
from pypid.core.ini import Entry, Section, printable

DEFAULT = "pypicloud's default"
"""Where a value comes from that the file does not say."""


@frozen
class Note:
    """Something of the file that is not taken over, or not as it is, and why. `keys` as the file spells them; no value of a
    secret is in it."""

    where: str
    keys: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, ", ".join(map(printable, self.keys)), self.reason) if part)


@frozen
class Said:
    """A value of ours, and the keys of pypicloud's that it comes from."""

    entry: Entry
    keys: tuple[str, ...]


@define
class Ledger:
    """Collects what a translation says. `filename` is for messages."""

    filename: str
    said: dict[str, dict[str, Said]] = field(factory=dict)
    problems: list[ConfigProblem] = field(factory=list)
    accounts: Entry | None = None
    """The URL of pypicloud's accounts database."""
    _notes: dict[str, tuple[dict[str, None], Entry]] = field(factory=dict)
    """Keys by reason, and where the first of them stands."""

    def say(self, section: str, key: str, text: str, entry: Entry | None = None, *keys: str) -> None:
        """That our key has this value; it stands in `entry`, or is pypicloud's default."""
        where = Entry(text, DEFAULT) if entry is None else Entry(text, entry.where, entry.line)
        self.said.setdefault(section, {})[key] = Said(where, keys)

    def note(self, reason: str, entry: Entry | None, *keys: str) -> None:
        """That keys are not taken over, or not as they are; those with the same reason become one note."""
        found, _ = self._notes.setdefault(reason, ({}, entry or Entry("", self.filename)))
        found.update(dict.fromkeys(keys))

    def refuse(self, message: str, entry: Entry, key: str, section: str = "") -> None:
        """That something stops the start."""
        self.problems.append(ConfigProblem(entry.where, entry.line, printable(section), printable(key), message))

    def accounted(self) -> frozenset[str]:
        """The keys of pypicloud's that something was said of."""
        said = {key for section in self.said.values() for one in section.values() for key in one.keys}
        noted = {key for keys, _ in self._notes.values() for key in keys}
        return frozenset(said | noted | {problem.key or "" for problem in self.problems})

    @property
    def notes(self) -> tuple[Note, ...]:
        """By where they stand in the file."""
        made = [
            (entry, Note("" if entry.origin in keys else entry.origin, tuple(keys), reason))
            for reason, (keys, entry) in self._notes.items()
        ]
        return tuple(note for _, note in sorted(made, key=lambda pair: (pair[0].line is None, pair[0].line or 0)))

    def sections(self) -> Mapping[str, Section]:
        """As `ini.read` gives them."""
        return {
            name: Section(min((one.entry.line or 1 for one in said.values()), default=1), _entries(said.items()))
            for name, said in self.said.items()
        }


def _entries(said: Iterable[tuple[str, Said]]) -> Mapping[str, Entry]:
    return {key: one.entry for key, one in said}
