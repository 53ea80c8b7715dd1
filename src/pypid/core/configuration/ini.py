"""Parse INI text into sections of keys, each with its line, and all problems of the text.

pypid's dialect is configparser's, with ``delimiters=('=',)``, ``comment_prefixes=('#', ';')``,
``inline_comment_prefixes=(';',)``, no interpolation, no default section and case-sensitive names (a
test compares the two). configparser itself reports no line numbers and stops at the first
duplicate, so it cannot report all problems at once. Files of other programs (`PASTE`) follow the
same rules except for their `Dialect`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from attrs import define, field, frozen

from pypid.core.errors import ConfigProblem

_INLINE_COMMENT = re.compile(r"(?:^|(?<=\s));")
_HEADER = re.compile(r"\[(?P<name>.+)\]")
_COLON_AS_DELIMITER = re.compile(r"(?P<key>[A-Za-z_]+)\s*:")


@frozen
class IniEntry:
    """The value of one key: its text (lines joined by newlines; it may be secret), and its origin.

    `where` is the name of a file, with the key's line (from 1), or of an environment variable.
    """

    text: str = field(repr=False)
    where: str
    line: int | None = None

    @property
    def origin(self) -> str:
        """The origin as text."""
        return self.where if self.line is None else f"{self.where}:{self.line}"


@frozen
class Dialect:
    """The differences between INI dialects. `delimiters` separate a key from its value;
    `inline_comments` tells whether a ``;`` after white space begins a comment.

    If duplicates are `overridden` the last one wins, else the first; they are reported in
    `IniDocument.repeated` or as a problem, respectively.
    """

    delimiters: str = "="
    inline_comments: bool = True
    overridden: bool = False


OURS = Dialect()
PASTE = Dialect(delimiters="=:", inline_comments=False, overridden=True)
"""PasteDeploy's dialect: configparser's defaults (in Python 2 the last of several counted)."""


@frozen
class IniSection:
    """A section: the line of its header, from 1, and its keys as they are spelled."""

    line: int
    entries: Mapping[str, IniEntry]


@frozen
class IniDocument:
    """All the sections of a text, by name, and its problems. No problem's text shows a value."""

    sections: Mapping[str, IniSection]
    problems: tuple[ConfigProblem, ...]
    repeated: tuple[ConfigProblem, ...] = ()
    """Duplicates, if the last one wins."""


def read(text: bytes | str, filename: str, dialect: Dialect = OURS) -> IniDocument:
    """Read an INI text, in UTF-8; `filename` is for messages. Never raises."""
    undecodable: list[int] = []
    if isinstance(text, bytes):
        if text.startswith((b"\xff\xfe", b"\xfe\xff")):
            return _unusable(filename, "the file is UTF-16; save it as UTF-8")
        undecodable = list(_undecodable(text))
        text = text.decode("utf-8", "replace")
    if "\0" in text:
        return _unusable(
            filename,
            "there are NUL characters in it, so this is no text file; name an INI file in UTF-8",
        )
    reader = _Reader(filename, dialect)
    for number in undecodable:
        reader.problem(number, "this line is not UTF-8; save the file as UTF-8")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), start=1):
        reader.take(number, line)
    return reader.document()


def _unusable(filename: str, reason: str) -> IniDocument:
    return IniDocument({}, (ConfigProblem(filename, None, "", None, reason),))


def _undecodable(text: bytes) -> Iterator[int]:
    for number, line in enumerate(
        text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), start=1
    ):
        try:
            line.decode()
        except UnicodeDecodeError:
            yield number


@define
class _Open:
    """The key whose value may continue in the next line."""

    line: int
    indent: int
    lines: list[str]


@define
class _Reader:
    filename: str
    dialect: Dialect
    _sections: dict[str, tuple[int, dict[str, _Open]]] = field(factory=dict)
    _section: str | None = None
    _key: _Open | None = None
    _problems: list[ConfigProblem] = field(factory=list)
    _repeated: list[ConfigProblem] = field(factory=list)
    _headless: bool = False

    def problem(self, line: int, message: str, key: str | None = None) -> None:
        self._problems.append(
            ConfigProblem(self.filename, line, printable(self._section or ""), key, message)
        )

    def document(self) -> IniDocument:
        sections = {
            name: IniSection(line, self._entries(keys))
            for name, (line, keys) in self._sections.items()
        }
        return IniDocument(sections, tuple(self._problems), tuple(self._repeated))

    def _entries(self, keys: Mapping[str, _Open]) -> Mapping[str, IniEntry]:
        return {
            key: IniEntry("\n".join(value.lines).rstrip(), self.filename, value.line)
            for key, value in keys.items()
        }

    def take(self, number: int, line: str) -> None:
        comment = self._comment(line)
        content = line[:comment].strip()
        if not content:
            if comment is None and self._key is not None:
                self._key.lines.append("")
            return
        indent = len(line) - len(line.lstrip())
        if self._key is not None and indent > self._key.indent:
            self._key.lines.append(content)
            return
        self._key = None
        if content.startswith("["):
            self._header(number, content)
        elif self._section is None:
            if not self._headless:
                self.problem(
                    number, "there is no [section] above this line; begin with one, like [server]"
                )
            self._headless = True
        else:
            self._entry(number, indent, content)

    def _header(self, number: int, content: str) -> None:
        header = (_HEADER.match if self.dialect.overridden else _HEADER.fullmatch)(content)
        if header is None:
            self.problem(
                number, "a line that begins with [ must be a section and end with ], like [server]"
            )
            return
        self._section = header["name"]
        if self._section in self._sections:
            first = self._sections[self._section][0]
            self._twice(
                number, f"the section is already in line {first}; put its keys together there"
            )
        else:
            self._sections[self._section] = (number, {})

    def _twice(self, line: int, message: str, key: str | None = None) -> None:
        found = self._repeated if self.dialect.overridden else self._problems
        found.append(
            ConfigProblem(self.filename, line, printable(self._section or ""), key, message)
        )

    def _entry(self, number: int, indent: int, content: str) -> None:
        assert self._section is not None
        delimiter = min(
            (each for each in self.dialect.delimiters if each in content),
            key=content.index,
            default="",
        )
        key, _, value = content.partition(delimiter) if delimiter else (content, "", "")
        key = key.rstrip()
        if not delimiter or not key:
            # Nothing of the line is shown: "secret_key: AKIA..." is a likely slip.
            colon = _COLON_AS_DELIMITER.match(content)
            advice = " (write key = value, not key: value)" if colon else ""
            self.problem(
                number,
                f"the line is neither [section] nor key = value{advice}; comments begin with ; "
                "or #",
            )
            return
        self._key = _Open(number, indent, [value.strip()])
        keys = self._sections[self._section][1]
        if key in keys:
            self._twice(
                number,
                f"the key is already in line {keys[key].line}; remove one of the two",
                printable(key),
            )
        if key not in keys or self.dialect.overridden:
            keys[key] = self._key

    def _comment(self, line: str) -> int | None:
        """Return the position of the line's comment, or None."""
        if line.lstrip().startswith(("#", ";")):
            return 0
        inline = _INLINE_COMMENT.search(line) if self.dialect.inline_comments else None
        return inline.start() if inline else None


def printable(text: str, most: int = 120) -> str:
    """Return `text` for one line of a log: truncated, and unprintable characters escaped."""
    cut = text if len(text) <= most else text[:most] + "..."
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in cut
    )
