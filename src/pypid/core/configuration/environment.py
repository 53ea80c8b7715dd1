"""Environment variables that set keys: ``PYPID_<SECTION>_<KEY>``, and ``..._FILE`` for a file with
the value.
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
    """The key that a variable sets, and whether it names a file that holds the value."""

    section: str
    key: str
    file: bool


def variable(section: str, key: str) -> str:
    """Return the variable that sets the key: ``variable("issuer:github", "url")`` is
    ``PYPID_ISSUER_GITHUB_URL``.
    """
    return PREFIX + re.sub(r"[^A-Z0-9]", "_", f"{section}_{key}".upper())


def no_files(path: str) -> str:
    """Raise `OSError`: the file reader of callers that read no files."""
    raise OSError("files are not read here")


def read(
    environ: Mapping[str, str], issuers: Iterable[str], read_file: Callable[[str], str]
) -> tuple[dict[tuple[str, str], IniEntry], list[ConfigProblem]]:
    """Return the values of the variables by (section, key), and the problems with them.

    `issuers` are the ``issuer:`` sections of the file; a variable may add another one. Variables
    that do not begin with ``PYPID_`` are ignored.
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
    ) in places:  # after all keys: cloudfront_key_file is a key, not the file of another one
        names.setdefault(variable(section, key) + "_FILE", _Meant(section, key, file=True))
    return names


def _issuers(environ: Iterable[str]) -> list[str]:
    """Return the sections that variables name; the caller puts those of the file first, which win
    over another spelling.
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
