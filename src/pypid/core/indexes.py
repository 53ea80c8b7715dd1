"""Named indexes: settings, what they inherit, and what stands in the way of a promotion. Pure.

A named index is defined by a section `[index:NAME]` of the configuration, or by a document of
record that the API has written. Both spell their values alike
(`core.configuration.keys.IndexKeys`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from enum import Enum

import attrs
import msgspec
from attrs import define, evolve, field, frozen
from msgspec.structs import replace

from pypid.core.configuration.checks import nearest, value_of
from pypid.core.configuration.choices import Owners
from pypid.core.configuration.keys import INDEX, REMOVED, IndexKeys, keys
from pypid.core.configuration.values import LONGEST_NAME, is_plain_name
from pypid.core.cooldown import NEVER, Cooldown
from pypid.core.errors import IndexExpired, NoSuchIndex, PypidError, Unreadable, shortened
from pypid.core.model import File, LocalProject, Project, StoredFile, in_order
from pypid.core.packaging.block_spec import BlockSpec
from pypid.core.packaging.names import ProjectName, matches
from pypid.core.permissions import Principals, Rules, together
from pypid.core.policy import PUBLIC
from pypid.core.records.documents import Deleted, Document
from pypid.core.records.layout import INDEXES, UPSTREAMS
from pypid.core.restrictions import Restrictions
from pypid.core.simple_api.listed_files import ListedFiles, ShownFiles, utc_text

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

    name: str = field(converter=index_name)
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

    def has_expired(self, now: datetime) -> bool:
        """Return whether the index has expired."""
        return self.expires is not None and self.expires <= now

    @property
    def is_filtered(self) -> bool:
        """Whether it hides whole projects that its bases show."""
        return self.allow != ("*",) or bool(self.deny)


def rules_of(rules: Rules, settings: IndexSettings) -> Rules:
    """Return the access rules of a named index: its own `read`, `write`, `delete` and `owners`,
    where they are set, in place of the defaults of `rules`, which are those of the default index.
    The rules of projects apply in every index.

    If the index sets `read`, only the principals in `read` and `write` can use it. If it sets
    `write`, only the principals in `write` can publish. In a `volatile` index, users who may
    publish may also overwrite and delete.
    """
    read, write, delete, owners = settings.read, settings.write, settings.delete, settings.owners
    admitted = (
        rules.admitted if read is None else together([read] if write is None else [read, write])
    )
    own = {"read": read, "write": write, "delete": delete, "owners": owners}
    return evolve(
        rules,
        index=settings.name,
        own_keys=frozenset(key for key, value in own.items() if value is not None),
        ownership=rules.ownership if owners is None else owners,
        read=rules.read if read is None else admitted,
        write=rules.write if write is None else write,
        delete=rules.delete if delete is None else delete,
        admitted=admitted,
        admitted_writers=rules.admitted_writers if write is None else write,
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


class IndexDocument(Document, omit_defaults=True, frozen=True, kw_only=True):
    """The document of record of a named index. `values` are spelled as in the configuration."""

    name: str
    values: dict[str, str] = msgspec.field(default_factory=dict)
    stage: bool = False
    """Whether a former version created it as a stage, whose creator could publish in it only what
    they could publish in its base. Read, never written.
    """
    created: datetime | None = None
    created_by: str = ""


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


def circle_of(name: str, indexes: Mapping[str, IndexSettings]) -> tuple[str, ...]:
    """Return the names on the way from the index through its bases back to itself, if any."""
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


# How an index shows what it inherits from its bases. Pure.
#
# The first index that has a project provides all its files. The rules of an index are applied to
# the views that it inherits; they can only hide more files.

# --- keys -----------------------------------------------------------------------------------------


def absolute(project: Project, prefix: str) -> Project:
    """Return the project of the part of a storage below `prefix` with keys of the whole storage."""
    return evolve(project, files=_absolute_files(project.files, prefix))


def _absolute_files(files: Sequence[File], prefix: str) -> Sequence[File]:
    if isinstance(files, ListedFiles):
        return files
    if isinstance(files, ShownFiles):
        replaced = {place: _absolute(file, prefix) for place, file in files.replaced.items()}
        return evolve(files, replaced=replaced)
    return tuple(_absolute(file, prefix) for file in files)


def _absolute(file: File, prefix: str) -> File:
    return absolute_file(file, prefix) if isinstance(file, StoredFile) else file


def absolute_file(file: StoredFile, prefix: str) -> StoredFile:
    """Return the file with its key in the whole storage."""
    return file if file.key.startswith(prefix) else replace(file, key=prefix + file.key)


def relative(file: StoredFile, prefix: str) -> StoredFile:
    """Return the file as the part of the storage below `prefix` has it."""
    return replace(file, key=file.key.removeprefix(prefix))


def origin_of(key: str) -> str:
    """Return the name of the index or upstream that has the bytes under a key of the whole storage;
    empty: the default index.
    """
    return key.split("/", 3)[2] if key.startswith((INDEXES, UPSTREAMS)) else ""


# --- inherited projects ---------------------------------------------------------------------------


def inherits(settings: IndexSettings, name: ProjectName) -> bool:
    """Return whether the index shows projects of this name that its bases have."""
    return matches(name, settings.allow) and not matches(name, settings.deny)


def mixes(settings: IndexSettings, name: ProjectName) -> bool:
    """Return whether the page of a project that the index has lists files of its bases, too."""
    return matches(name, settings.allow_mixed)


def merges(settings: IndexSettings, name: ProjectName) -> bool:
    """Return whether a project's page lists the local files of the index and all its bases."""
    return matches(name, settings.merge)


def blocks_of(settings: IndexSettings, name: ProjectName) -> tuple[BlockSpec, ...]:
    """Return the blocks of the index that are about the project."""
    return tuple(spec for spec in settings.block if spec.project == name)


def unblocked(project: Project, blocks: Sequence[BlockSpec]) -> Project:
    """Return an inherited project without the files of blocked versions."""
    blocked = {
        version for version in project.versions if any(spec.includes(version) for spec in blocks)
    }
    if not blocked:
        return project
    files = project.files
    if not isinstance(files, ListedFiles | ShownFiles):
        return evolve(project, files=tuple(each for each in files if each.version not in blocked))
    shown = files if isinstance(files, ShownFiles) else ShownFiles(files)
    hidden, start = set(shown.hidden), 0
    for version, count in shown.listed.runs:
        if version in blocked:
            hidden.update(range(start, start + count))
        start += count
    return evolve(project, files=evolve(shown, hidden=frozenset(hidden)))


def cooled(project: Project, cooldown: Cooldown, now: datetime) -> tuple[Project, datetime | None]:
    """Return an inherited project without the upstream files that are too young, and when the next
    file becomes old enough. The cooldown does not apply to local files.
    """
    if not project.files or not cooldown.may_hide(project.name):
        return project, None
    rules = cooldown.rules_of(project.name, now)
    files = project.files
    if isinstance(files, ListedFiles | ShownFiles):
        shown = files if isinstance(files, ShownFiles) else ShownFiles(files)
        times = [
            (position, time)
            for position, time in rules.times(shown.listed, now)
            if now < time and position not in shown.hidden
        ]
        hidden = shown.hidden | {position for position, _ in times}
        changes = [time for _, time in times]
        found: Sequence[File] = evolve(shown, hidden=hidden) if times else files
    else:
        waiting = {
            file.filename: time
            for file in files
            if file.source is not None and now < (time := rules.visible_from(file))
        }
        changes = list(waiting.values())
        found = tuple(file for file in files if file.filename not in waiting)
    ends = (*changes, rules.until or NEVER)
    until = min((time for time in ends if now < time < NEVER), default=None)
    return (evolve(project, files=found) if changes else project), until


def mixed(own: Project, inherited: Project, taken: AbstractSet[str]) -> Project:
    """Return the project with the files of both, without inherited files whose name is in `taken`.
    A project whose status offers no files inherits none.
    """
    if not own.status.offers_files:
        return own
    others = (file for file in inherited.files if file.filename not in taken)
    return evolve(own, files=in_order((*own.files, *others)))


# The obstacles to the promotion of a release from one index to another. Pure.

MOST_SHOWN = 20
"""Largest number of obstacles in the text of a refusal."""
AGAIN = 30
"""Seconds after which the leases of a process that crashed have ended."""


class ObstacleKind(Enum):
    """The kinds of obstacles; the values are identifiers for programs."""

    OTHER_BYTES = "other-bytes"
    USED_UP = "name-used-up"
    CLOSED = "project-closed"
    SOURCE_CLOSED = "source-closed"
    YANKED = "yanked"
    WITHHELD = "withheld"
    UNDER_WAY = "under-way"
    STRAY = "stray-bytes"


@frozen
class PromotionObstacle:
    """A reason to refuse a promotion. `subject`: a file name, or a project with a version."""

    kind: ObstacleKind
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


@define(slots=False, repr=False)
class PromotionRefused(PypidError, status=409):
    """The promotion is refused as a whole; nothing was changed."""

    obstacles: Sequence[PromotionObstacle]
    was_tried: bool = True
    """Whether a promotion was requested, and not only a check."""

    @property
    def retry_after(self) -> int | None:
        """After how many seconds the same promotion may succeed; None: not without a change."""
        is_temporary = all(each.kind is ObstacleKind.UNDER_WAY for each in self.obstacles)
        return AGAIN if is_temporary else None

    def text(self) -> str:
        what = "Nothing was promoted" if self.was_tried else "The promotion would be refused"
        lines, count = [str(each) for each in self.obstacles[:MOST_SHOWN]], len(self.obstacles)
        if count == 1:
            return f"{what}. {lines[0]}"
        lines += [f"and {count - len(lines)} more"] * (count > len(lines))
        return "\n".join([f"{what}, for {count} reasons:", *(f"- {line}" for line in lines)])


# --- obstacles ------------------------------------------------------------------------------------


def file_obstacles(
    files: Iterable[StoredFile],
    target: LocalProject | None,
    tombstones: Mapping[str, Deleted],
    restrictions: Sequence[Restrictions],
) -> Iterator[PromotionObstacle]:
    """Yield what prevents the files of one project from being listed in the target index.
    `tombstones`: by file name; `restrictions`: the rules of both indexes.
    """
    if target is not None and not target.status.takes_uploads:
        text = f"the project is {target.status.value} in the target index"
        yield PromotionObstacle(ObstacleKind.CLOSED, target.name, text)
    for file in files:
        found = _obstacle(file, target, tombstones.get(file.filename), restrictions)
        if found is not None:
            yield PromotionObstacle(found[0], file.filename, found[1])


def _obstacle(
    file: StoredFile,
    target: LocalProject | None,
    tombstone: Deleted | None,
    restrictions: Sequence[Restrictions],
) -> tuple[ObstacleKind, str] | None:
    hold = next((hold for each in restrictions if (hold := each.hold(file)) is not None), None)
    if hold is not None:
        return ObstacleKind.WITHHELD, hold.value
    if file.yanked is not None:
        return ObstacleKind.YANKED, "it is yanked in the source index"
    older = None if target is None else target.file(file.filename)
    if older is not None and older.sha256 != file.sha256:
        return ObstacleKind.OTHER_BYTES, "the target index has other content under this name"
    if older is None and tombstone is not None and tombstone.sha256 != file.sha256:
        text = "the target index had other content under this name, and deleted it"
        return ObstacleKind.USED_UP, text
    return None


def to_promote(files: Iterable[StoredFile], target: LocalProject | None) -> tuple[StoredFile, ...]:
    """Return the files that the target index does not list yet."""
    if target is None:
        return tuple(files)
    return tuple(file for file in files if target.file(file.filename) is None)
