"""The directive ``.. keys:: <section>``: the keys of a section of the configuration.

Sections with a free name are ``issuer:<name>``, ``upstream:<name>`` and ``index:<name>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from attrs import frozen
from generated import GeneratedText
from sphinx.application import Sphinx

from pypid.core.configuration.environment import variable
from pypid.core.configuration.keys import (
    INDEX,
    ISSUER,
    SECTIONS,
    UPSTREAM,
    IndexKeys,
    IssuerSettings,
    NamedUpstreamSettings,
    keys,
)


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


def rows(section: str) -> Iterator[KeyRow]:
    """Yield the keys of a section, in the table's order."""
    for name, key in keys(sections()[section]).items():
        yield KeyRow(
            section,
            name,
            key.default,
            key.doc,
            key.kind.allowed,
            variable(section, name),
            key.secret,
        )


def sections() -> Mapping[str, type[Any]]:
    """Return all sections by name."""
    return {
        **SECTIONS,
        f"{ISSUER}<name>": IssuerSettings,
        f"{UPSTREAM}<name>": NamedUpstreamSettings,
        f"{INDEX}<name>": IndexKeys,
    }


_TYPES = (
    ("host:port, :port", "list of addresses"),
    ("off, *, or origins", "``off``, ``*`` or a list of origins"),
    ("a whole number of seconds", "duration"),
    ("a whole number of bytes", "size"),
    ("a whole number", "number"),
    ("osv, a path, an http", "path or URL"),
    ("a path", "path"),
    ("malware, critical", "list of words"),
    ("one line of text", "text"),
    ("everyone, authenticated", "users"),
    ("names of projects and globs", "names"),
    ("names of hosts", "list of hosts"),
    ("names of users; several", "list of users"),
    ("names of users", "user"),
    ("names of files", "list of filenames"),
    ("addresses and networks", "list of networks"),
    ("absolute http", "list of URLs"),
    ("an absolute http", "URL"),
    ("a distinguished name", "DN"),
    ("a search filter", "LDAP filter"),
    ("the plain name of a folder", "folder name"),
    ("names of indexes", "list of indexes"),
    ("the name of an index", "name of an index"),
    ("names of upstreams and public", "names of upstreams, ``public``, or ``none``"),
    ("projects and versions", "list of projects and versions"),
    ("a date", "date or time"),
)
"""Beginnings of `ValueKind.allowed`, and the names under which the page explains these kinds."""
_RANGE = re.compile(r"(?: from \S+)?(?: up to \S+)?\Z")


def table(section: str) -> str:
    """Return the keys of a section as reStructuredText."""
    head = ".. list-table::\n   :header-rows: 1\n   :widths: 28 72\n\n   * - Key\n     - Meaning\n"
    return head + "".join(_entry(row) for row in rows(section)).rstrip() + "\n"


def _entry(row: KeyRow) -> str:
    base, _, name = row.section.partition(":")
    label = f"config-{'named-' if name and base in SECTIONS else ''}{base}-{row.key}"
    default = f" Default: ``{row.default}``." if row.default else ""
    secret = " Secret: pypid never prints it." if row.secret else ""
    return (
        f"   * - .. _{label}:\n\n       ``{row.key}``\n"
        f"     - {_wrapped(row.doc + secret)}\n\n"
        f"       {_wrapped(f'Value: {_value_of(row)}.{default}')}\n"
    )


def _wrapped(text: str) -> str:
    lines = wrap(text, 92, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * 7).join(lines)


def _value_of(row: KeyRow) -> str:
    """Return the name of the kind of value, or all allowed words."""
    for beginning, name in _TYPES:
        if row.allowed.startswith(beginning):
            limits = _RANGE.search(row.allowed)
            return name + ("" if limits is None else limits[0].replace(" from", ", from", 1))
    words = row.allowed.partition(";")[0].split(", ")
    if all(word.isidentifier() or word[0].isdigit() or ":" in word for word in words):
        return ", ".join(f"``{word}``" for word in words)
    return row.allowed.replace("*", r"\*").replace("<", r"\<")


class Keys(GeneratedText):
    """Inserts the keys of a section. An unknown section is an error of the build."""

    required_arguments = 1

    def text(self) -> Iterator[str]:
        """Return the table of the section."""
        if self.arguments[0] not in sections():
            raise self.error(f"{self.arguments[0]!r} is none of {sorted(sections())}")
        yield table(self.arguments[0])


def setup(app: Sphinx) -> Mapping[str, Any]:
    """Register the directive."""
    app.add_directive("keys", Keys)
    return {"parallel_read_safe": True}
