"""The configuration in force, in words: what `pypid check-config` prints."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from pypid.core.config import Config
from pypid.core.ini import printable
from pypid.core.judging import is_open
from pypid.core.rights import Right
from pypid.core.settings import FREE, ISSUER, NOT_YET, SECTIONS, Key, keys
from pypid.core.values import without_userinfo

SET = "(set)"
"""What stands for a secret that is set."""
_ORIGIN_COLUMN = 48


def describe(config: Config, *, not_yet: AbstractSet[str] = NOT_YET) -> str:
    """The configuration in force, as INI text: each value with where it came from, secrets and hashes as ``(set)``.

    Keys of capabilities that this version does not have are left out.
    """
    parts = []
    for name in SECTIONS:
        parts.append(_lines(config, name, getattr(config, name), not_yet))
        if name == "access":
            parts.extend(_free_lines(config, free) for free in FREE)
    parts.extend(_lines(config, ISSUER + name, issuer, not_yet) for name, issuer in config.issuers.items())
    return "\n".join("\n".join(part) + "\n" for part in parts if len(part) > 1)


def _lines(config: Config, name: str, section: Any, not_yet: AbstractSet[str]) -> list[str]:
    opened = {key: declared for key, declared in keys(type(section)).items() if is_open(declared, not_yet)}
    return [f"[{name}]", *(_line(config, name, key, _text(it, getattr(section, key))) for key, it in opened.items())]


def _free_lines(config: Config, name: str) -> list[str]:
    given: Mapping[str, Any] = getattr(config, name)
    return [f"[{name}]", *(_line(config, name, printable(key), _free_text(name, value)) for key, value in given.items())]


def _free_text(name: str, value: Any) -> str:
    if name == "users":
        return SET
    return value.text if isinstance(value, Right) else " ".join(value)


def _line(config: Config, section: str, key: str, text: str) -> str:
    return f"{f'{key} = {text}':<{_ORIGIN_COLUMN}} ; {printable(config.origins.get((section, key), 'default'))}"


def _text(key: Key, value: Any) -> str:
    if value == key.kind.parse(key.default):
        return key.default
    return SET if key.secret else without_userinfo(str(key.kind.show(value)))
