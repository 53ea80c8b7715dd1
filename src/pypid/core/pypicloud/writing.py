"""Write a translation as the text of a pypid INI file, with comments on the origin of each value:
`pypid convert-config`.
"""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import basename

from pypid.core.configuration import ini
from pypid.core.configuration.ini import printable
from pypid.core.configuration.keys import FREE, SECTIONS, keys
from pypid.core.errors import BadConfig, ConfigProblem
from pypid.core.pypicloud.ledger import TranslatedValue
from pypid.core.pypicloud.translation import Translation

_WIDTH = 124


def written(translation: Translation, filename: str) -> str:
    """Return the text, including all secrets of the file. Raises `BadConfig` if a value cannot be
    written in a pypid INI file.

    `filename` is pypicloud's file, for the comments.
    """
    name = printable(basename(filename))
    blocks = [
        f"; Made of {name} by `pypid convert-config`. The end lists what is not taken over.\n"
    ]
    for section in _order():
        if section in translation.values:
            lines = [
                line
                for key, value in translation.values[section].items()
                for line in _lines(key, value)
            ]
            blocks.append("\n".join([f"[{section}]", *lines]) + "\n")
    blocks.append("\n".join(_left_out(translation)))
    text = "\n".join(blocks)
    _check(translation, text, filename)
    return text


def _order() -> Iterator[str]:
    for section in SECTIONS:
        yield section
        if section == "access":
            yield from FREE


def _lines(key: str, value: TranslatedValue) -> Iterator[str]:
    where = printable(basename(value.entry.origin))
    named = ", ".join(printable(name) for name in value.keys if name not in where)
    yield f"; {where}{': ' if named else ''}{named}"
    yield f"{key} = {value.entry.text}"


def _left_out(translation: Translation) -> Iterator[str]:
    if translation.accounts is not None:
        yield from _wrapped(
            "People are in pypicloud's accounts database, which pypid reads at its first start "
            "with the old file. If it has not started with that yet, take them along: ppc-export "
            "of pypicloud, then `pypid user import`. They are kept below [server] state: where "
            "this file is in another folder than the old file, name the state folder of the old "
            "file there."
        )
        yield ""
    if translation.notes:
        yield "; Not taken over, or not as it was:"
        for note in translation.notes:
            yield ";"
            yield from _wrapped(str(note))


def _wrapped(text: str) -> Iterator[str]:
    line = ";"
    for word in text.split():
        if len(line) + len(word) >= _WIDTH and line != ";":
            yield line
            line = ";"
        line += f" {word}"
    yield line


def _check(translation: Translation, text: str, filename: str) -> None:
    """Raise `BadConfig` unless the text has the same values when it is read again."""
    read = ini.read(text, filename)
    problems = [*read.problems]
    for section, values in translation.values.items():
        entries = read.sections[section].entries if section in read.sections else {}
        for key, value in values.items():
            if key not in entries or entries[key].text != value.entry.text.strip():
                message = (
                    "it cannot be written into an INI of pypid's, where ; behind white space "
                    "begins a comment: change it first"
                )
                shown = printable(", ".join(value.keys) or key)
                problems.append(
                    ConfigProblem(value.entry.where, value.entry.line, "", shown, message)
                )
    if problems:
        raise BadConfig(problems)


def secrets_in(translation: Translation) -> tuple[str, ...]:
    """Return the names of the secrets in the text: ``[storage] secret_key``."""
    found = [
        f"[{section}] {key}"
        for section, declared in SECTIONS.items()
        for key, one in keys(declared).items()
        if one.secret and key in translation.values.get(section, {})
    ]
    return (*found, *(["[users]"] if translation.values.get("users") else []))
