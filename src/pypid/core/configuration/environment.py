"""Environment variables that speak for keys: ``PYPID_<SECTION>_<KEY>``, and ``..._FILE`` for a file
with the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches

from attrs import frozen

from pypid.core.configuration.ini import IniEntry, printable
from pypid.core.configuration.keys import FREE, ISSUER, SECTIONS, IssuerSettings, keys
from pypid.core.errors import ConfigProblem

PREFIX = "PYPID_"
_ISSUER = re.compile(
    rf"PYPID_ISSUER_(?P<name>.+?)_({'|'.join(key.upper() for key in keys(IssuerSettings))})(_FILE)?\Z",
    re.DOTALL,
)


@frozen
class _Meant:
    """What a variable speaks for, and whether it names a file that holds the value."""

    section: str
    key: str
    file: bool


def variable(section: str, key: str) -> str:
    """The variable that speaks for the key: ``variable("issuer:github", "url")`` is
    ``PYPID_ISSUER_GITHUB_URL``.
    """
    return PREFIX + re.sub(r"[^A-Z0-9]", "_", f"{section}_{key}".upper())


def no_files(path: str) -> str:
    """For who reads no files: raises `OSError`."""
    raise OSError("files are not read here")


def read(
    environ: Mapping[str, str], issuers: Iterable[str], read_file: Callable[[str], str]
) -> tuple[dict[tuple[str, str], IniEntry], list[ConfigProblem]]:
    """What the variables say for each (section, key), and what is wrong with them.

    `issuers` are the ``issuer:`` sections of the file; a variable may make another one. Variables
    that do not begin with ``PYPID_`` are not looked at.
    """
    ours = {name: value for name, value in sorted(environ.items()) if name.startswith(PREFIX)}
    names = _names([*issuers, *_issuers(ours)])
    found: dict[tuple[str, str], IniEntry] = {}
    problems: list[ConfigProblem] = []
    for name, value in ours.items():
        meant = names.get(name)
        if meant is None:
            problems.append(ConfigProblem(printable(name), None, "", None, _unknown(name, names)))
            continue
        place = (meant.section, meant.key)
        if place in found:
            message = f"{found[place].where} says the same; set one of the two"
            problems.append(ConfigProblem(name, None, *place, message))
            continue
        try:
            found[place] = IniEntry(read_file(value) if meant.file else value, name)
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or "it is no readable text"
            message = (
                f"the file {printable(value)!r} cannot be read ({reason}); the variable names a "
                f"file that holds the value"
            )
            problems.append(ConfigProblem(name, None, *place, message))
    return found, problems


def _names(issuers: Iterable[str]) -> dict[str, _Meant]:
    places = [(section, key) for section, declared in SECTIONS.items() for key in keys(declared)]
    places += [(issuer, key) for issuer in dict.fromkeys(issuers) for key in keys(IssuerSettings)]
    names: dict[str, _Meant] = {}
    for section, key in places:
        names.setdefault(variable(section, key), _Meant(section, key, file=False))
    for (
        section,
        key,
    ) in places:  # afterwards: cloudfront_key_file is a key, not the file of another one
        names.setdefault(variable(section, key) + "_FILE", _Meant(section, key, file=True))
    return names


def _issuers(environ: Iterable[str]) -> list[str]:
    """The sections that variables speak of; those of the file come before them where both spell the
    same.
    """
    return [ISSUER + match["name"].lower() for match in map(_ISSUER.match, environ) if match]


def _unknown(name: str, names: Iterable[str]) -> str:
    for section in FREE:
        if name.startswith(variable(section, "")):
            return f"[{section}] comes from the file only; unset the variable"
    close = get_close_matches(name[:100], names, 1, 0.8)
    advice = (
        f"did you mean {close[0]}?"
        if close
        else f"{PREFIX}<SECTION>_<KEY> is allowed, for the sections {' '.join(SECTIONS)}"
    )
    return f"unknown variable; {advice}"
