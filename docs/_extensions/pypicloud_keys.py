"""The directive ``.. pypicloud-keys::``: all keys of pypicloud's ini, and what pypid does with each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from generated import GeneratedText
from sphinx.application import Sphinx

from pypid.core.pypicloud.keys import (
    ACCESS,
    DIRECTORY,
    NOT_NEEDED,
    OTHER_PEOPLE,
    OTHER_STORAGES,
    STORAGE,
    UPSTREAM,
    Fate,
    KnownKey,
)

_TITLES: tuple[tuple[str, tuple[KnownKey, ...]], ...] = (
    ("Upstream", UPSTREAM),
    ("Users and rights", ACCESS),
    ("LDAP", DIRECTORY),
    ("Other sources of users", OTHER_PEOPLE),
    ("Storage", STORAGE),
    ("Other storages", OTHER_STORAGES),
    ("Not needed", NOT_NEEDED),
)
_FAMILIES = {
    "package.": "package.<project>.user.<name>, package.<project>.group.<name>",
    "user.": "user.<name>",
    "group.": "group.<name>",
}
_WORDS = {Fate.TRANSLATED: "", Fate.IGNORED: "*ignored*: ", Fate.REFUSED: "*refused*: "}


def _table(known: Iterable[KnownKey]) -> str:
    rows = [
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 40 60",
        "",
        "   * - pypicloud",
        "     - pypid",
    ]
    for one in known:
        name = _FAMILIES.get(one.name) or (f"{one.name}*" if one.name.endswith(".") else one.name)
        shown = ", ".join(f"``{each}``" for each in name.split(", "))
        rows.append(f"   * - {shown}{f' ({one.since})' if one.since else ''}")
        rows.append(f"     - {_WORDS[one.fate]}{_escaped(one.text)}")
    return "\n".join(rows[1:]) + "\n"


def _escaped(text: str) -> str:
    return text.replace("*", r"\*").replace("<", r"\<")


def text() -> Iterator[str]:
    """Yield a section with a table for each subject."""
    for title, known in _TITLES:
        yield f"{title}\n{'~' * len(title)}\n"
        yield _table(known)


class PypicloudKeys(GeneratedText):
    """Inserts all keys."""

    def text(self) -> Iterator[str]:
        """Return their sections."""
        return text()


def setup(app: Sphinx) -> Mapping[str, Any]:
    """Register the directive."""
    app.add_directive("pypicloud-keys", PypicloudKeys)
    return {"parallel_read_safe": True}
