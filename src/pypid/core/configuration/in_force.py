"""The effective configuration as text: for `pypid check-config`, and for administrators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import evolve, frozen

from pypid.core.accounts.rights import Right
from pypid.core.configuration.ini import printable
from pypid.core.configuration.keys import (
    FREE,
    INDEX,
    ISSUER,
    SECTIONS,
    UPSTREAM,
    IndexKeys,
    Key,
    keys,
)
from pypid.core.configuration.parse import Config
from pypid.core.configuration.values import without_userinfo
from pypid.core.indexes import IndexSettings

SET = "(set)"
"""Stands for a secret that is set."""
_ORIGIN_COLUMN = 48
_LIVE = frozenset({("log", "level"), ("server", "metrics")})
_LASTING = frozenset({("access", "backend"), ("access", "url")})


@frozen
class SettingLine:
    """A key, its value as text (`SET` for a secret), and its origin (``default`` if not set)."""

    key: str
    value: str
    origin: str
    by_reload: bool = False
    """Whether a new value takes effect after a reload; else after a restart."""
    waits: bool = False
    """Whether the file has a new value that takes effect after a restart."""


@frozen
class SettingSection:
    """A section with its lines, at least one."""

    section: str
    lines: tuple[SettingLine, ...]


def describe(config: Config) -> str:
    """Return the effective configuration as INI text, with origins; secrets as ``(set)``."""
    return written(sections(config))


def written(sections: Iterable[SettingSection]) -> str:
    """Return the sections as INI text."""
    return "\n".join("".join(f"{text}\n" for text in _texts(each)) for each in sections)


def in_force(started: Config, read: Config) -> tuple[SettingSection, ...]:
    """Return the effective sections: pypid `started` with one configuration, and `read` another."""
    return sections(started) if read is started else sections(_after_reload(started, read), read)


def sections(config: Config, read: Config | None = None) -> tuple[SettingSection, ...]:
    """Return the sections of `config`. `read`: the current content of the file. Takes a tenth of a
    second for ten thousand rules.
    """
    return tuple(section for section in _sections(config, read or config) if section.lines)


def _sections(config: Config, read: Config) -> Iterator[SettingSection]:
    for name in SECTIONS:
        yield _declared(config, name, getattr(config, name), getattr(read, name))
        if name == "upstream":
            for upstream, settings in config.upstreams.items():
                there = read.upstreams.get(upstream, settings)
                yield _declared(config, UPSTREAM + upstream, settings, there)
        if name == "access":
            yield from (_free(config, free) for free in FREE)
    for name, index in config.indexes.items():
        yield _declared(
            config, INDEX + name, _keys_of(index), _keys_of(read.indexes.get(name, index))
        )
    for name, issuer in config.issuers.items():
        yield _declared(config, ISSUER + name, issuer, issuer)


def _declared(config: Config, name: str, section: Any, read: Any) -> SettingSection:
    return SettingSection(
        name,
        tuple(
            SettingLine(
                key,
                _text(declared, getattr(section, key)),
                _origin(config, name, key),
                by_reload=_by_reload(name, key),
                waits=getattr(section, key) != getattr(read, key),
            )
            for key, declared in keys(type(section)).items()
        ),
    )


def _keys_of(settings: IndexSettings) -> IndexKeys:
    return IndexKeys(**{key: getattr(settings, key) for key in keys(IndexKeys)})


def _free(config: Config, name: str) -> SettingSection:
    values: Mapping[str, Any] = getattr(config, name)
    lines = (
        SettingLine(
            printable(key), _free_text(name, value), _origin(config, name, key), by_reload=True
        )
        for key, value in values.items()
    )
    return SettingSection(name, tuple(lines))


def _free_text(name: str, value: Any) -> str:
    if name == "users":
        return SET
    return value.text if isinstance(value, Right) else " ".join(value)


def _text(key: Key, value: Any) -> str:
    if value == key.kind.parse(key.default):
        return key.default
    return SET if key.secret else without_userinfo(str(key.kind.show(value)))


def _origin(config: Config, section: str, key: str) -> str:
    return printable(config.origins.get((section, key), "default"))


def _texts(section: SettingSection) -> Iterator[str]:
    yield f"[{section.section}]"
    for line in section.lines:
        yield f"{f'{line.key} = {line.value}':<{_ORIGIN_COLUMN}} ; {line.origin}"


# --- what a reload brings into force --------------------------------------------------------------


def _by_reload(section: str, key: str) -> bool:
    """Return whether a reload (`wiring.recipe.reload`) applies the key."""
    if (section, key) in _LASTING:
        return False
    by_prefix = section.startswith((ISSUER, INDEX))
    return by_prefix or section in (*FREE, "access") or (section, key) in _LIVE


def indexes_wait(started: Config, read: Config) -> bool:
    """Return whether the named indexes of `read` take effect at a restart only: they may choose
    upstreams, and a reload opens none.
    """
    return set(started.upstreams) != set(read.upstreams)


def _after_reload(started: Config, read: Config) -> Config:
    """Return the configuration in force: `read` where a reload applies it, else `started`."""
    origins = {at: found for at, found in started.origins.items() if not _by_reload(*at)}
    origins |= {at: found for at, found in read.origins.items() if _by_reload(*at)}
    return evolve(
        started,
        users=read.users,
        groups=read.groups,
        projects=read.projects,
        issuers=read.issuers,
        indexes=started.indexes if indexes_wait(started, read) else read.indexes,
        access=evolve(read.access, backend=started.access.backend),
        log=evolve(started.log, level=read.log.level),
        server=evolve(started.server, metrics=read.server.metrics),
        origins=origins,
    )
