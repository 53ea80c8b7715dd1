"""Named indexes: their settings, their names, and the checks of all of them together. Pure.

A named index is defined by a section `[index:NAME]` of the configuration, or by a document of
record that the API has written. Both spell their values alike
(`core.configuration.keys.IndexKeys`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

import attrs
import msgspec
from attrs import evolve, field, frozen

from pypid.core.configuration.checks import nearest, value_of
from pypid.core.configuration.choices import Owners
from pypid.core.configuration.index_kinds import LONGEST_NAME, is_plain_name
from pypid.core.configuration.keys import INDEX, REMOVED, IndexKeys, keys
from pypid.core.cooldown import Cooldown
from pypid.core.errors import IndexExpired, NoSuchIndex, Unreadable, shortened
from pypid.core.packaging.block_spec import BlockSpec
from pypid.core.permissions import Principals, Rules, together
from pypid.core.records.documents import FORMAT
from pypid.core.simple_api.entries import utc_text
from pypid.core.upstream_choice import PUBLIC

DEFAULT = "default"
"""The name of the index at the root, as a base."""
BUILT_IN = (DEFAULT, PUBLIC)
"""Bases that exist without a section; `PUBLIC` has no local projects of the default index."""
RESERVED = frozenset({*BUILT_IN, "none"})
MOST_PLACES = 128
"""Maximum number of places where an index looks up a project: itself, its bases, and theirs; one
that several ways lead to counts for each.
"""
EXTENSION = timedelta(days=7)
"""For how long the advice of an error extends an index that has expired."""
ROUTES = frozenset(
    {
        *("_", "account", "acct", "admin", "advisories", "api", "at", "config", "docs", "health"),
        *("integrity", "legacy", "local", "manage", "metrics", "namespace", "namespaces", "osv"),
        *("packages", "project", "pypi", "ready", "requirements.txt", "rss", "scim", "search"),
        *("simple", "snapshots", "upload", "uploadpackage", "+simple", ".well-known"),
    }
)
"""The first segments of all routes, and of routes to come: no index may have such a name."""


def index_name(text: str) -> str:
    """Return `text` if an index may have this name. Raises `ValueError` with the reason."""
    if not is_plain_name(text):
        raise ValueError(
            f"{shortened(text)!r} is not a valid index name: use lower-case letters, digits and "
            f"hyphens, at most {LONGEST_NAME}, and begin with a letter or digit"
        )
    if text in RESERVED:
        raise ValueError(f"{text!r} is reserved: it has a meaning of its own in `bases`")
    if text in ROUTES:
        raise ValueError(f"{text!r} is reserved: pypid serves its own pages below /{text}/")
    return text


def is_index_name(text: str) -> bool:
    """Return whether an index may have this name."""
    try:
        index_name(text)
    except ValueError:
        return False
    return True


@frozen(kw_only=True)
class IndexSettings:
    """The settings of one named index."""

    name: str = field()
    bases: tuple[str, ...] = (DEFAULT,)
    """The names of the indexes where other projects are looked up, in order."""
    read: Principals | None = None
    """Who may read the index; None: as in `[access]`."""
    write: Principals | None = None
    delete: Principals | None = None
    owners: Owners | None = None
    volatile: bool = False
    """Whether users who may publish may also overwrite and delete files."""
    allow: tuple[str, ...] = ("*",)
    """The names of inherited projects that the index shows; `deny` wins."""
    deny: tuple[str, ...] = ()
    block: tuple[BlockSpec, ...] = ()
    """Projects, or versions of them, whose inherited files the index hides."""
    allow_mixed: tuple[str, ...] = ()
    """Projects whose files come from the index and from its bases together."""
    merge: tuple[str, ...] = ()
    """Projects whose local files come from the index and from all its bases together."""
    cooldown: Cooldown | None = None
    """Hides upstream files in addition to those that the bases hide."""
    upstreams: tuple[str, ...] | None = None
    """Names of upstreams, in order; None: those of the default index."""
    expires: datetime | None = None
    configured: bool = False
    """Whether the configuration defines the index: then the API cannot change it."""
    created: datetime | None = None
    created_by: str = ""

    @name.validator
    def _check_name(self, attribute: object, value: str) -> None:
        index_name(value)

    def has_expired(self, now: datetime) -> bool:
        """Return whether the index has expired."""
        return self.expires is not None and self.expires <= now

    @property
    def is_filtered(self) -> bool:
        """Whether it hides whole projects that its bases show."""
        return self.allow != ("*",) or bool(self.deny)


def rules_within(
    rules: Rules,
    *,
    index: str,
    read: Principals | None = None,
    write: Principals | None = None,
    delete: Principals | None = None,
    owners: Owners | None = None,
    volatile: bool = False,
    is_created: bool = False,
) -> Rules:
    """Return the rules of a named index: its own `read`, `write`, `delete` and `owners`, where they
    are set, in place of the defaults. The rules of projects apply in every index.

    If the index sets `read`, only the principals in `read` and `write` can use it. If it sets
    `write`, only the principals in `write` can publish. In a `volatile` index, users who may
    publish may also overwrite and delete.
    """
    admitted = (
        rules.admitted if read is None else together([read] if write is None else [read, write])
    )
    own = {"read": read, "write": write, "delete": delete, "owners": owners}
    return evolve(
        rules,
        index=index,
        own_keys=frozenset(key for key, value in own.items() if value is not None),
        ownership=rules.ownership if owners is None else owners,
        read=rules.read if read is None else admitted,
        write=rules.write if write is None else write,
        delete=rules.delete if delete is None else delete,
        admitted=admitted,
        admitted_writers=rules.admitted_writers if write is None else write,
        volatile=volatile,
        is_created=is_created,
    )


def rules_of(rules: Rules, settings: IndexSettings) -> Rules:
    """Return the access rules of a named index; `rules` are those of the default index."""
    return rules_within(
        rules,
        index=settings.name,
        read=settings.read,
        write=settings.write,
        delete=settings.delete,
        owners=settings.owners,
        volatile=settings.volatile,
        is_created=not settings.configured,
    )


def expiry_of(settings: IndexSettings, now: datetime) -> IndexExpired | None:
    """Return the error for an index that has expired; None if it has not."""
    if settings.expires is None or not settings.has_expired(now):
        return None
    until = (now + EXTENSION).replace(microsecond=0)
    advice = (
        "Use another one, or ask an administrator to extend it: pypid index set "
        f"{settings.name} expires={utc_text(until)}"
    )
    return IndexExpired(settings.name, utc_text(settings.expires), advice)


def check_takes_files(name: str, settings: IndexSettings | None, now: datetime) -> None:
    """Raise `NoSuchIndex` or `IndexExpired` if nothing can be published in the index now.
    `settings`: None if it was deleted.
    """
    if settings is None:
        raise NoSuchIndex(name)
    if (expired := expiry_of(settings, now)) is not None:
        raise expired


# --- as a section, and as a document --------------------------------------------------------------


class IndexDocument(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """The document of record of a named index. `values` are spelled as in the configuration."""

    name: str
    values: dict[str, str] = {}
    stage: bool = False
    """Whether a former version created it as a stage, whose creator could publish in it only what
    they could publish in its base. Read, never written.
    """
    created: datetime | None = None
    created_by: str = ""
    format: int = FORMAT


def settings_of_section(name: str, section: IndexKeys) -> IndexSettings:
    """Return the settings of a section of the configuration. Raises `ValueError`."""
    return IndexSettings(name=name, configured=True, **attrs.asdict(section, recurse=False))


def settings_of_values(
    name: str,
    values: Mapping[str, str],
    *,
    created: datetime | None = None,
    created_by: str = "",
) -> IndexSettings:
    """Return the settings of an index whose values are spelled as in the configuration. Raises
    `ValueError` with the reason.
    """
    declared, parsed = keys(IndexKeys), {}
    for key, text in values.items():
        if key not in declared:
            advice = nearest(key, declared) or f"; known: {' '.join(declared)}"
            unknown = f"unknown key {shortened(key)!r}{advice}"
            raise ValueError(REMOVED.get((INDEX, key), unknown))
        try:
            parsed[key] = value_of(declared[key], text.strip())
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return IndexSettings(
        name=name,
        created=created,
        created_by=created_by,
        **attrs.asdict(IndexKeys(**parsed), recurse=False),
    )


def values_of(settings: IndexSettings) -> dict[str, str]:
    """Return the values that are not the default, spelled as in the configuration."""
    return {
        key: declared.kind.show(value)
        for key, declared in keys(IndexKeys).items()
        if (value := getattr(settings, key)) != declared.kind.parse(declared.default)
    }


def document_of(settings: IndexSettings) -> IndexDocument:
    """Return the document that stores the settings."""
    return IndexDocument(
        name=settings.name,
        values=values_of(settings),
        created=settings.created,
        created_by=settings.created_by,
    )


def settings_of_document(document: IndexDocument) -> IndexSettings:
    """Return the settings that a document stores. Raises `Unreadable`: an index with a key that
    this version does not know is not served, since the key may restrict it. Only administrators
    publish in a former stage, until they set its `write`.
    """
    values = {**document.values, "write": "admins"} if document.stage else {**document.values}
    values.pop("devpi", None)  # of before 1.0: it redirected former addresses
    try:
        return settings_of_values(
            document.name,
            values,
            created=document.created,
            created_by=document.created_by,
        )
    except ValueError as error:
        raise Unreadable(f"the document of the index {document.name!r}", str(error)) from None


# --- all together ---------------------------------------------------------------------------------


@frozen
class IndexProblem:
    """What is wrong with the value of one key of an index; or with its name (empty `key`)."""

    index: str
    key: str
    message: str

    def __str__(self) -> str:
        key = f"{self.key} of " if self.key else ""
        return f"{key}the index {self.index!r}: {self.message}"


def check_indexes(
    indexes: Iterable[IndexSettings], upstreams: Collection[str] = ()
) -> Iterator[IndexProblem]:
    """Yield the problems that indexes have together: unknown bases and upstreams, circles, too many
    bases, and names that an upstream has, too. `upstreams` are the names of all `[upstream:NAME]`.
    """
    by_name = {settings.name: settings for settings in indexes}
    places = places_of(by_name)
    for name, settings in by_name.items():
        if name in upstreams:
            yield IndexProblem(
                name, "", f"[upstream:{name}] has this name, too: rename one of them"
            )
        for base in settings.bases:
            if base not in by_name and base not in BUILT_IN:
                others = {*BUILT_IN, *by_name} - {name}
                yield IndexProblem(name, "bases", _unknown("index", base, others))
        for upstream in settings.upstreams or ():
            if upstream != PUBLIC and upstream not in upstreams:
                yield IndexProblem(
                    name, "upstreams", _unknown("upstream", upstream, {PUBLIC, *upstreams})
                )
        circle = circle_of(name, by_name)
        if circle:
            yield IndexProblem(name, "bases", f"the bases form a circle: {' -> '.join(circle)}")
        elif places[name] > MOST_PLACES:
            yield IndexProblem(
                name,
                "bases",
                f"with the bases of its bases there are more than {MOST_PLACES} places to look",
            )


def _unknown(kind: str, name: str, known: Collection[str]) -> str:
    advice = nearest(name, sorted(known)) or f"; known: {' '.join(sorted(known))}"
    return f"there is no {kind} {shortened(name)!r}{advice}"


def misfits_of_indexes(
    indexes: Mapping[str, IndexSettings], upstreams: Collection[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield the problems of all indexes of the configuration: section, key and advice."""
    for problem in check_indexes(indexes.values(), upstreams):
        yield f"{INDEX}{problem.index}", problem.key, problem.message


def circle_of(name: str, indexes: Mapping[str, IndexSettings]) -> tuple[str, ...]:
    """Return the names on the way from the index through its bases back to itself; empty if there
    is no circle.
    """
    ways: list[tuple[str, ...]] = [(name,)]
    seen = set[str]()
    while ways:
        way = ways.pop()
        settings = indexes.get(way[-1])
        for base in settings.bases if settings is not None else ():
            if base == name:
                return (*way, base)
            if base not in seen:
                seen.add(base)
                ways.append((*way, base))
    return ()


def places_of(indexes: Mapping[str, IndexSettings]) -> Mapping[str, int]:
    """Return the number of places where each index looks up a project, at most one more than
    `MOST_PLACES`.
    """
    found, entered = dict[str, int](), set[str]()
    for first in indexes:
        waiting = [first]
        while waiting:
            name = waiting[-1]
            bases = indexes[name].bases
            entered.add(name)  # in a circle it is waiting already
            left = [each for each in bases if each in indexes and each not in entered]
            waiting += left
            if not left:
                count = 1 + sum(found.get(base, 1) for base in bases)
                found[waiting.pop()] = min(count, MOST_PLACES + 1)
    return found


def bases_of(name: str, indexes: Mapping[str, IndexSettings]) -> frozenset[str]:
    """Return the names of all bases of an index, of their bases, and so on."""
    found, waiting = set[str](), [name]
    while waiting:
        settings = indexes.get(waiting.pop())
        for base in settings.bases if settings is not None else ():
            if base not in found:
                found.add(base)
                waiting.append(base)
    return frozenset(found)


def users_of(name: str, indexes: Iterable[IndexSettings]) -> tuple[str, ...]:
    """Return the names of the indexes that have `name` among their bases, sorted."""
    return tuple(sorted(each.name for each in indexes if name in each.bases))
