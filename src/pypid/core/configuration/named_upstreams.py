"""Checks of the sections `[upstream:NAME]`, which are further upstream indexes for some names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from urllib.parse import quote, urlsplit

from attrs import evolve

from pypid.core.configuration.checks import nearest
from pypid.core.configuration.keys import (
    INDEX,
    ISSUER,
    UPSTREAM,
    NamedUpstreamSettings,
    UpstreamSettings,
)
from pypid.core.configuration.value_kinds import UPSTREAM_NAME
from pypid.core.indexes import index_name
from pypid.core.packaging.globs import matches
from pypid.core.packaging.names import ProjectName
from pypid.core.upstream_choice import PUBLIC

RESERVED_NAMES = (PUBLIC, "default")
"""Names that no section can have."""

_INHERITED = ("file_hosts", "ca_certificates", "cooldown", "require_hashes", "timeout", "ttl")
"""Keys whose value in `[upstream]` is the default for all named upstreams."""

Misfit = tuple[str, str, str]
"""Section, key and advice."""


def name_problem(prefix: str, name: str) -> str | None:
    """Return why a section cannot have this name after the `prefix`; None if it can."""
    if prefix == ISSUER:
        if len(name.split(maxsplit=1)) == 1 and name == name.lstrip() and name.isprintable():
            return None
        return "a name without white space follows the colon, as in [issuer:github]"
    if prefix == INDEX:
        try:
            index_name(name)
        except ValueError as error:
            return str(error)
        return None
    if name in RESERVED_NAMES:
        return f"the name {name} is reserved; choose another one"
    try:
        UPSTREAM_NAME.parse(name)
    except ValueError:
        return (
            "a name of lower-case letters, digits and - (40 at most) follows the colon, as in "
            "[upstream:cu128]"
        )
    return None


def misfits_of_upstreams(
    default: UpstreamSettings, named: Mapping[str, NamedUpstreamSettings]
) -> Iterator[Misfit]:
    """Yield the problems of all named upstreams together with `[upstream]`."""
    for name in unknown_upstreams(default.upstreams, named):
        advice = nearest(name, [*named, PUBLIC]) or f"; known: {' '.join([*named, PUBLIC])}"
        yield "upstream", "upstreams", f"there is no [{UPSTREAM}{name}]{advice}"
    for name, settings in named.items():
        section = UPSTREAM + name
        if not settings.url:
            yield section, "url", "it is required: the Simple API address of the upstream"
        if not settings.only:
            yield section, "only", "it is required: the names that come from this upstream"
        if settings.credentials is not None:
            yield from ((section, "credentials", advice) for advice in _of_credentials(settings))


def settings_of(default: UpstreamSettings, named: NamedUpstreamSettings) -> UpstreamSettings:
    """Return the settings of a named upstream: a key that it does not set has the value of
    `[upstream]`.
    """
    own = {key: getattr(named, key) for key in _INHERITED}
    return evolve(
        default,
        url=tuple(_with_credentials(url, named.credentials) for url in named.url),
        upstreams=(),
        **{key: value for key, value in own.items() if value not in (None, ())},
    )


def _with_credentials(url: str, credentials: str | None) -> str:
    if credentials is None:
        return url
    user, _, password = credentials.partition(":")
    split = urlsplit(url)
    userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return split._replace(netloc=f"{userinfo}@{split.netloc}").geturl()


def unknown_upstreams(
    chosen: Sequence[str], named: Mapping[str, NamedUpstreamSettings]
) -> Sequence[str]:
    """Return those of the `chosen` names that no section defines."""
    return [name for name in chosen if name not in named and name != PUBLIC]


def _of_credentials(settings: NamedUpstreamSettings) -> Iterator[str]:
    urls = [urlsplit(url) for url in settings.url]
    if any("@" in url.netloc for url in urls):
        yield "url has a user already; set only one of the two"
    elif len({(url.scheme, url.netloc.lower()) for url in urls}) > 1:
        yield "url names several hosts; put the user and password of each into its URL"


def never_asked(
    default: UpstreamSettings,
    named: Mapping[str, NamedUpstreamSettings],
    published: Collection[str] = (),
) -> Iterator[Misfit]:
    """Yield the patterns in `only` that have no effect, because another rule keeps the names from
    all upstreams. `published`: the names and globs that users have the right to publish
    (`[projects]`).
    """
    rules = {
        "[upstream] reserved": default.reserved,
        "[upstream] deny": default.deny,
        "[projects]": published,
    }
    for name, settings in named.items():
        for pattern in settings.only:
            for rule, names in rules.items():
                if matches(_as_name(pattern), names):
                    advice = f"{pattern} has no effect: {rule} has the same names"
                    yield UPSTREAM + name, "only", advice


def overlaps(
    default: UpstreamSettings, named: Mapping[str, NamedUpstreamSettings]
) -> Iterator[Misfit]:
    """Yield the patterns of an upstream that match names of another pattern of an earlier one: such
    names are requested from both.
    """
    chosen = [name for name in default.upstreams or named if name in named]
    for position, name in enumerate(chosen):
        for earlier in chosen[:position]:
            for pattern in named[name].only:
                for other in named[earlier].only:
                    if _overlap(pattern, other):
                        advice = (
                            f"{pattern} overlaps with {other} of [{UPSTREAM}{earlier}]: names that "
                            f"match both are requested from {earlier}, then from {name}"
                        )
                        yield UPSTREAM + name, "only", advice


def _overlap(pattern: str, other: str) -> bool:
    """Return whether two different patterns match the same names, as far as one contains the
    other.
    """
    return pattern != other and (
        matches(_as_name(pattern), [other]) or matches(_as_name(other), [pattern])
    )


def _as_name(pattern: str) -> ProjectName:
    """Return the pattern as a name that matches another pattern if all its names do."""
    return ProjectName(pattern.lower())
