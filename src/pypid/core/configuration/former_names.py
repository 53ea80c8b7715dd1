"""Former names of sections and keys. They keep working, in the file and in the environment, with
one line in the log for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from attrs import define, evolve, field

from pypid.core.configuration.ini import IniDocument, IniEntry, IniSection
from pypid.core.errors import ConfigProblem

FORMER_NAMES: Mapping[tuple[str, str | None], str] = MappingProxyType(
    {
        ("cache", None): "catalog",
        ("catalog", "snapshot"): "dump",
        ("catalog", "snapshot_interval"): "dump_interval",
        ("server", "front_door"): "fast_path",
        ("upstream", "blend"): "allow_mixed",
    }
)
"""Current names of sections by (former name, None), and of keys by (current section, former key).
Any former name of a section goes with any name of a key.
"""


def spellings(section: str, key: str) -> Iterator[tuple[str, str]]:
    """Yield all names of a key: the current one first, then those with a former name in it."""
    sections = [section, *_former(None, section)]
    keys = [key, *_former(section, key)]
    yield from ((one, other) for one in sections for other in keys)


def _former(section: str | None, name: str) -> Iterator[str]:
    for (first, second), current in FORMER_NAMES.items():
        if current != name:
            continue
        if section is None and second is None:
            yield first
        elif section == first and second is not None:
            yield second


def renamed(former: str, current: str) -> str:
    """Return the line for the log: a former name is in use."""
    return f"{former} was renamed to {current}. The former name still works."


@define
class Renaming:
    """Gives the sections and keys of a file their current names. `filename` is for messages."""

    filename: str
    notes: list[str] = field(factory=list, init=False)
    """A line for each former name."""
    problems: list[ConfigProblem] = field(factory=list, init=False)
    """A problem for each section and key that is in the file under two names."""
    _written: dict[int, tuple[str, str | None]] = field(factory=dict, init=False)
    """Section and key as the file has them, by line, where they have former names."""

    def rename(self, document: IniDocument) -> IniDocument:
        """Return the document with current names only."""
        written = document.sections
        sections: dict[str, IniSection] = {}
        names: dict[str, str] = {}
        for name, section in written.items():
            current = FORMER_NAMES.get((name, None), name)
            if name != current:
                self._written[section.line] = (name, None)
                self._note(section.line, f"[{name}]", f"[{current}]")
            if names.setdefault(current, name) != name:
                [former] = {name, names[current]} - {current}
                self._problem(
                    section.line,
                    name,
                    None,
                    f"[{former}] (line {written[former].line}) is the former name of [{current}] "
                    f"(line {written[current].line}); put all keys into [{current}]",
                )
            entries = self._rename_keys(name, current, section.entries)
            other = sections.setdefault(current, IniSection(section.line, entries))
            sections[current] = IniSection(other.line, {**entries, **other.entries})
        return evolve(document, sections=sections)

    def _rename_keys(
        self, section: str, current_section: str, entries: Mapping[str, IniEntry]
    ) -> Mapping[str, IniEntry]:
        names: dict[str, str] = {}
        for key, entry in entries.items():
            assert entry.line is not None
            current = FORMER_NAMES.get((current_section, key), key)
            if (section, key) != (current_section, current):
                self._written[entry.line] = (section, key)
            if key != current:
                self._note(entry.line, f"[{section}] {key}", f"[{current_section}] {current}")
            if names.setdefault(current, key) != key:
                [former] = {key, names[current]} - {current}
                self._problem(
                    entry.line,
                    section,
                    key,
                    f"{former} (line {entries[former].line}) is the former name of {current} "
                    f"(line {entries[current].line}); remove one of the two",
                )
        return {current: entries[key] for current, key in names.items()}

    def _note(self, line: int, former: str, current: str) -> None:
        self.notes.append(f"{self.filename}:{line}: {renamed(former, current)}")

    def _problem(self, line: int, section: str, key: str | None, message: str) -> None:
        self.problems.append(ConfigProblem(self.filename, line, section, key, message))

    def as_written(self, problem: ConfigProblem) -> ConfigProblem:
        """Return a problem with the names that the file has in the problem's line."""
        if problem.where != self.filename or problem.line not in self._written:
            return problem
        section, key = self._written[problem.line]
        is_of_line = problem.key == FORMER_NAMES.get((problem.section, key), key)
        return evolve(problem, section=section, key=key if is_of_line else problem.key)
