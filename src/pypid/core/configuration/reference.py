"""Generate the page docs/reference/configuration from the table of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from pypid.core.configuration.environment import PREFIX, variable
from pypid.core.configuration.former_names import FORMER_NAMES
from pypid.core.configuration.keys import ISSUER, SECTIONS, IssuerSettings, keys


@frozen
class KeyRow:
    """One key of the table. `variable` is the environment variable that sets it."""

    section: str
    key: str
    default: str
    doc: str
    allowed: str
    variable: str
    secret: bool


def table() -> tuple[KeyRow, ...]:
    """Return all keys of all sections with fixed keys, in the table's order; issuers are shown as
    ``issuer:<name>``.
    """
    return tuple(_rows())


def _rows() -> Iterator[KeyRow]:
    for section, declared in _sections():
        for name, key in keys(declared).items():
            yield KeyRow(
                section,
                name,
                key.default,
                key.doc,
                key.kind.allowed,
                variable(section, name),
                key.secret,
            )


def _sections() -> Iterator[tuple[str, type[Any]]]:
    for name, section in SECTIONS.items():
        if name == "publish":
            yield f"{ISSUER}<name>", IssuerSettings
        yield name, section


_HEAD = """\
Configuration
=============

pypid reads one INI file, and environment variables, which win over it. Unknown sections, keys and
variables, and invalid values, stop the start: all problems are reported at once, each with its
file and line. ``pypid check-config FILE`` reports the same without starting; if there are none, it
prints the configuration in force and the origin of each value.

The file
--------

* UTF-8. ``key = value``; names are case-sensitive; there is no interpolation; no section inherits
  keys of another one.
* Lines that begin with ``#`` or ``;`` are comments, and so is all after a ``;`` that follows white
  space.
* A line that is indented deeper than its key continues the value. An empty value means the default.
* Sizes are whole numbers of bytes, or of ``k``, ``M``, ``G`` or ``T`` (``1k`` is 1024 bytes).
* Durations are whole numbers of seconds, or of ``s``, ``m``, ``h`` or ``d``; one unit, no
  fractions.
* Lists have white space between their items. Paths are relative to the folder of the file.
* Lists of people: a bare name or ``user:alice`` is a user, ``group:team`` a group; ``everyone``,
  ``authenticated``, ``admins`` and ``nobody`` are keywords, and cannot be names. Names have no
  ``:``, ``=``, ``;``, ``,``, white space or control characters.

The environment
---------------

``PYPID_<SECTION>_<KEY>`` sets a key of a section: ``PYPID_SERVER_LISTEN``,
``PYPID_ISSUER_GITHUB_URL``. With ``_FILE`` after it, the variable names a file that holds the
value, as secrets of containers do. An unknown ``PYPID_*`` variable stops the start. ``[users]``,
``[groups]`` and ``[projects]`` come from the file only.

Former names
------------

Former names keep working, in the file and in the environment; pypid logs a line for each at the
start. Rename them when you change the file next. A section or key under both names stops the start.

"""

_FREE_DOCS = {
    "users": (
        "``name = password hash``, one line a user; ``pypid gen-password`` makes the hash. Clear "
        "text is refused."
    ),
    "groups": "``name = members``, one line a group.",
    "projects": (
        "``<project>.user.<name>``, ``<project>.group.<name>``, ``<project>.everyone`` or "
        "``<project>.authenticated``, then ``= r`` or ``= rw``."
    ),
}


def configuration_rst() -> str:
    """Return the page ``docs/reference/configuration.rst``, generated from the table."""
    blocks = [_HEAD + "\n".join(f"* {line}" for line in _former_names()) + "\n"]
    rows = table()
    for section, declared in _sections():
        blocks.append(_heading(section))
        blocks.append(f"{declared.__doc__}\n")
        blocks.extend(_entry(row) for row in rows if row.section == section)
        if section == "access":
            for name, doc in _FREE_DOCS.items():
                blocks.append(_heading(name))
                blocks.append(f"{doc}\n")
    return "\n".join(blocks)


def _former_names() -> Iterator[str]:
    for (section, key), current in FORMER_NAMES.items():
        if key is None:
            yield f"``[{section}]`` is ``[{current}]``, ``{PREFIX}{section.upper()}_*`` too."
        else:
            yield f"``[{section}] {key}`` is ``{current}``."


def _heading(section: str) -> str:
    title = f"``[{section}]``"
    return f"{title}\n{'-' * len(title)}\n"


def _entry(row: KeyRow) -> str:
    default = f"default ``{row.default}``" if row.default else "empty by default"
    allowed = row.allowed.replace("*", r"\*").replace("<", r"\<")
    secret = " Secret: never shown." if row.secret else ""
    return (
        f"``{row.key}`` ({default})\n"
        f"    {row.doc}\n"
        f"    Allowed: {allowed}.{secret}\n"
        f"    Environment: ``{row.variable}``.\n"
    )
