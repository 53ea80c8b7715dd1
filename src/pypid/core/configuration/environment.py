"""Environment variables that set keys: ``PYPID_<SECTION>_<KEY>``, or a file by ``..._FILE``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches

from pypid.core.configuration.ini import IniEntry, printable
from pypid.core.configuration.keys import FAMILIES, FREE, ISSUER, REMOVED, SECTIONS, keys
from pypid.core.configuration.lookup import VARIABLE as CONFIG_FILE
from pypid.core.errors import ConfigProblem

PREFIX = "PYPID_"
_NAMED = {
    prefix: re.compile(
        rf"PYPID_{prefix[:-1].upper()}_(?P<name>.+?)"
        rf"_({'|'.join(key.upper() for key in keys(section))})(_FILE)?\Z",
        re.DOTALL,
    )
    for prefix, section in FAMILIES.items()
}
"""The variables of sections with a free name, by the prefix of the section."""


def variable(section: str, key: str) -> str:
    """Return the variable that sets the key: ``variable("issuer:github", "url")`` is
    ``PYPID_ISSUER_GITHUB_URL``.
    """
    return PREFIX + re.sub(r"[^A-Z0-9]", "_", f"{section}_{key}".upper())


def read(
    environ: Mapping[str, str], named: Iterable[str], read_file: Callable[[str], str]
) -> tuple[Mapping[tuple[str, str], IniEntry], Sequence[ConfigProblem]]:
    """Return the values of the variables by section and key, and the problems with them.

    `named` are the sections of the file with a free name (`FAMILIES`); a variable may add another
    one. Variables that do not begin with ``PYPID_`` are ignored.
    """
    values = {
        name: value
        for name, value in sorted(environ.items())
        if name.startswith(PREFIX) and name != CONFIG_FILE
    }
    names = _names([*named, *_added(values)])
    entries: dict[tuple[str, str], IniEntry] = {}
    problems: list[ConfigProblem] = []
    for name, value in values.items():
        if name not in names:
            problems.append(ConfigProblem(printable(name), None, "", None, _unknown(name, names)))
            continue
        place, is_file = names[name]
        if place in entries:
            problems.append(
                ConfigProblem(
                    name,
                    None,
                    *place,
                    f"{entries[place].where} sets the same key; set one of the two",
                )
            )
            continue
        try:
            entries[place] = IniEntry(read_file(value) if is_file else value, name)
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or "it is no readable text"
            problems.append(
                ConfigProblem(
                    name,
                    None,
                    *place,
                    f"the file {printable(value)!r} cannot be read ({reason}); the variable names "
                    "a file that holds the value",
                )
            )
    return entries, problems


def _names(named: Iterable[str]) -> dict[str, tuple[tuple[str, str], bool]]:
    """Return the section and key that each variable sets, by its name, and whether its value is the
    name of a file with the key's value.
    """
    places = [(section, key) for section, declared in SECTIONS.items() for key in keys(declared)]
    for section in dict.fromkeys(named):
        prefix = section.partition(":")[0] + ":"
        places += [(section, key) for key in keys(FAMILIES[prefix])]
    names: dict[str, tuple[tuple[str, str], bool]] = {}
    # files after all keys: cloudfront_key_file is a key, not the file of another one
    for suffix in ("", "_FILE"):
        for place in places:
            names.setdefault(variable(*place) + suffix, (place, bool(suffix)))
    return names


def _added(environ: Iterable[str]) -> list[str]:
    """Return the sections that variables name; the caller puts those of the file first, which win
    over another spelling.
    """
    return [
        prefix + (name if prefix == ISSUER else name.replace("_", "-"))
        for variable_name in environ
        for prefix, pattern in _NAMED.items()
        if (match := pattern.match(variable_name)) and (name := match["name"].lower())
    ]


def _unknown(name: str, names: Iterable[str]) -> str:
    for section in FREE:
        if name.startswith(variable(section, "")):
            return f"[{section}] comes from the file only; unset the variable"
    for (section, key), instead in REMOVED.items():
        ends = name.removesuffix("_FILE").endswith((key or "").upper())
        if ends and name.startswith(variable(section.removesuffix(":"), "")):
            return instead
    close = get_close_matches(name[:100], [*names, CONFIG_FILE], 1, 0.8)
    advice = (
        f"did you mean {close[0]}?"
        if close
        else f"{PREFIX}<SECTION>_<KEY> is allowed, for the sections {' '.join(SECTIONS)} "
        "index_<name> upstream_<name>"
    )
    return f"unknown variable; {advice}"
