"""The index of search: cards of projects in SQLite's FTS5, written, asked, and read as a viewer.

The cards in an SQLite file with FTS5: derived, and rebuilt when outdated or damaged.

Everything here blocks. Several processes may read a file; the one with its lock writes.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import IO, Any

import msgspec
from attrs import define, field, frozen

from pypid.core.model import File, ListedFile, Project
from pypid.core.packaging.core_metadata import read_metadata
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import Release, choose_release, describing_file, release_of
from pypid.core.permissions import Visibility
from pypid.core.search import (
    SHORT,
    Card,
    FoundProject,
    ProjectDescription,
    SearchQuery,
    status_rank,
)
from pypid.core.summaries import Summaries

# Searches in the language of SQLite's FTS5. The exact name comes first, then local projects, then
# upstream ones: where a private and an upstream name are alike, a team looks for the private one.
# Each are in the order of their tiers: the name is equal; it begins with the words; a word of it
# begins with them, or with each single one; it contains each; keywords do; the summary does.
#
# Words are cut by pypid's rules, and not by SQLite, whose Unicode differs: its tokenizer ``ascii``
# leaves all letters beyond ASCII as they are.

COLUMNS = ("name", "starts", "insides", "keywords", "summary", "facts")
TABLE = (
    f"CREATE VIRTUAL TABLE words USING fts5({', '.join(COLUMNS)}, "
    "tokenize=\"ascii tokenchars '-'\", detail=column, columnsize=0, prefix='1 2 3 4 5 6')"
)
WORD, INSIDE = "name starts", "name starts insides"
ANY_PYTHON = "-p-any"


def words(card: Card) -> tuple[str, ...]:
    """Return the texts of a card for `COLUMNS`."""
    texts = (card.starts, card.insides, card.keyword_words, card.summary_words, _facts(card))
    return (card.name, *map(" ".join, texts))


def _facts(card: Card) -> Sequence[str]:
    """Return the tokens for filters: no typed word begins as these do."""
    pythons = [ANY_PYTHON] if card.pythons is None else map(_python, sorted(card.pythons))
    licenses = (f"-l-{word}" for word in card.license_words)
    return [
        "-s-ours" if card.ours else "-s-theirs",
        *pythons,
        *licenses,
        *map(_classifier, card.branches),
    ]


def _python(version: str) -> str:
    return f"-p-{version.replace('.', '-')}"


def _classifier(text: str) -> str:
    return f"-c-{blake2b(text.encode(errors='replace'), digest_size=8).hexdigest()}"


def filters(query: SearchQuery) -> str | None:
    """Return an expression for the query's filters; None if there are none."""
    found = []
    if query.ours is not None:
        found.append(_in("facts", "-s-ours" if query.ours else "-s-theirs"))
    if query.python is not None:
        found.append(f"({_in('facts', ANY_PYTHON)} OR {_in('facts', _python(query.python))})")
    found += [_in("facts", f"-l-{word}", begins=len(word) >= SHORT) for word in query.license]
    if query.classifier:
        found.append(_in("facts", _classifier(query.classifier)))
    return " AND ".join(found) or None


def tiers(query: SearchQuery) -> tuple[str, ...]:
    """Return for each tier, the best first, what is found there and in those before. The query has
    words.
    """
    name = query.name
    squashed = [] if len(query.words) == 1 else [_in("starts", query.squashed, begins=True)]

    def found(columns: str, whole: str = "") -> str:
        return _or(*squashed, _each(query, columns, whole))

    exact, beginning = _in("name", name), _in("name", name, begins=True)
    keyword, anywhere = (
        found(f"{INSIDE} keywords", "keywords"),
        found(f"{INSIDE} keywords summary", "keywords summary"),
    )
    return exact, beginning, found(WORD), found(INSIDE), keyword, anywhere


def ranks(query: SearchQuery) -> tuple[str, ...]:
    """Return the expressions in the order of results, each with all that those before it find.

    "Not upstream" is asked rather than "local": an index holds far fewer upstream projects, and an
    expression costs what its lists of projects are long.
    """
    exact, *others = tiers(query)
    upstream = _in("facts", "-s-theirs")
    local = [_or(exact, without(each, upstream)) for each in others]
    return exact, *local, *(_or(local[-1], each) for each in others)


def both(one: str, other: str | None) -> str:
    """Return what matches both expressions."""
    return one if other is None else f"({other}) AND ({one})"


def without(one: str, other: str | None) -> str:
    """Return what matches `one` and not `other`."""
    return one if other is None else f"({one}) NOT ({other})"


def _each(query: SearchQuery, columns: str, whole: str) -> str:
    """Match all words: each begins something in `columns`; a short one something of `WORD`, or is
    all of something in `whole`.
    """
    return " AND ".join(f"({_one(word, columns, whole)})" for word in dict.fromkeys(query.words))


def _one(word: str, columns: str, whole: str) -> str:
    if len(word) >= SHORT:
        return _in(columns, word, begins=True)
    return _or(_in(WORD, word, begins=True), *([_in(whole, word)] if whole else []))


def _or(*terms: str) -> str:
    return " OR ".join(f"({part})" for part in terms) if len(terms) > 1 else terms[0]


def _in(columns: str, token: str, *, begins: bool = False) -> str:
    """Match a token. Tokens are letters, digits and dashes: there is nothing in them to escape."""
    return f'{{{columns}}} : "{token}"{"*" if begins else ""}'


# SQLite files of the search index: opening, identifying, and locking them for the one process that
# writes. Everything here blocks.

BUSY = 5.0
"""Seconds that one connection waits for another."""
_PRAGMAS = (
    "synchronous = NORMAL",
    "temp_store = MEMORY",
    "cache_size = -8000",
    "journal_size_limit = 8388608",
)


def connect(path: Path | None) -> sqlite3.Connection:
    """Return a connection to an existing file; None: to a new database in memory."""
    where = ":memory:" if path is None else f"{path.absolute().as_uri()}?mode=rw"
    made = sqlite3.connect(
        where, uri=True, timeout=BUSY, check_same_thread=False, isolation_level=None
    )
    for pragma in _PRAGMAS:
        made.execute(f"PRAGMA {pragma}")
    return made


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def basis_of(db: sqlite3.Connection) -> str | None:
    try:
        row = db.execute("SELECT basis FROM meta").fetchone()
    except sqlite3.OperationalError:  # the table does not exist
        return None
    return None if row is None else row[0]


def which(path: Path) -> tuple[int, int] | None:
    """Return which file has the name: device and inode."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def locked(path: Path) -> IO[bytes] | None:
    """Return the lock, or None where another process has it. Raises `OSError`."""
    lock = path.open("ab")
    try:
        os.fchmod(lock.fileno(), 0o600)  # a user who may open it may hold it
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    except BaseException:
        lock.close()
        raise
    return lock


def hash_of(texts: Iterable[str]) -> str:
    """Return a hash that identifies these texts."""
    return blake2b("\n".join(texts).encode(), digest_size=8).hexdigest()


# Reading the cards as a viewer: what the viewer may not see is in no result, and in no number.

_SHOWN = "name, version, summary, ours, updated, keywords"
_MATCHING = ("words WHERE words MATCH ?", "words.rowid")
_EVERYTHING = ("project WHERE ? IS NULL", "project.place")
"""The table and condition of a search, and the column of a project's place."""


@frozen(eq=False)
class SearchViewer:
    """A viewer: `gone` are removed projects that may still have a card."""

    by: Visibility
    gone: frozenset[ProjectName] = frozenset()

    @property
    def see_all(self) -> bool:
        """Whether the viewer sees everything."""
        return self.by.sees_all and not self.gone

    def sees(self, name: str) -> bool:
        """Return whether the viewer sees this project."""
        return name not in self.gone and self.by.sees(ProjectName(name))


@define(eq=False)
class Reader:
    """A connection, and what is prepared on it. `file`: the one that it has open; None: in
    memory.
    """

    db: sqlite3.Connection
    file: tuple[int, int] | None
    _prepared: tuple[Visibility, frozenset[ProjectName], int] | None = field(
        default=None, init=False, repr=False
    )

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    def find(
        self, query: SearchQuery, eyes: SearchViewer, most: int, skip: int
    ) -> tuple[Sequence[FoundProject], int]:
        """Return at most `most` projects after the first `skip`, and how many there are in all."""
        if not query.words:
            return self._all(query, eyes, most, skip)
        let_through = filters(query)
        seen, anywhere = self._seen(eyes, *_MATCHING), both(tiers(query)[-1], let_through)
        total = self._count(*_MATCHING, seen, anywhere)
        wanted = min(skip + most, total)
        found, before = list[int](), None
        for expression in ranks(query):
            if len(found) < wanted:
                here = both(without(expression, before), let_through)
                found += self._places(*_MATCHING, seen, here, wanted - len(found))
                before = expression
        return self._found(found[skip:wanted]), total

    def _all(
        self, query: SearchQuery, eyes: SearchViewer, most: int, skip: int
    ) -> tuple[Sequence[FoundProject], int]:
        """Return what the filters let through, for a query without words."""
        let_through = filters(query)
        table, place = _EVERYTHING if let_through is None else _MATCHING
        seen = self._seen(eyes, table, place)
        total = self._count(table, place, seen, let_through)
        return self._found(self._places(table, place, seen, let_through, most, skip)), total

    def _count(self, table: str, place: str, seen: str, matches: str | None) -> int:
        query = f"SELECT count(*) FROM {table} {seen}"
        return self.db.execute(query, (matches,)).fetchone()[0]  # type: ignore[no-any-return]

    def _places(
        self, table: str, place: str, seen: str, matches: str | None, most: int, skip: int = 0
    ) -> Sequence[int]:
        """Return the places, fetched in one row: for each row Python needs its lock, which others
        hold.
        """
        limited = (
            f"SELECT {place} AS found FROM {table} {seen} ORDER BY {place} DESC LIMIT ? OFFSET ?"
        )
        row = self.db.execute(
            f"SELECT group_concat(found) FROM ({limited})", (matches, most, skip)
        ).fetchone()
        return sorted(map(int, row[0].split(",")), reverse=True) if row[0] else []

    def _found(self, places: Sequence[int]) -> Sequence[FoundProject]:
        query = (
            f"SELECT place, {_SHOWN} FROM project WHERE place IN (SELECT value FROM json_each(?))"
        )
        rows = {row[0]: row[1:] for row in self.db.execute(query, (json.dumps(places),))}
        return [_shown(*rows[place]) for place in places if place in rows]

    def newest(self, by: str, eyes: SearchViewer, most: int) -> Sequence[ProjectName]:
        """Return the local projects that were `created` or `updated` last, the newest first.

        A cached upstream file is not news of this index, and is dated by its upload elsewhere.
        """
        query = (
            f"SELECT name FROM project WHERE {by} IS NOT NULL AND ours {self._seen(eyes)} ORDER "
            f"BY {by} DESC LIMIT ?"
        )
        return [name for (name,) in self.db.execute(query, (most,))]

    def unread(self, eyes: SearchViewer) -> int:
        """Return how many projects have unread metadata."""
        query = f"SELECT count(*) FROM project WHERE unread {self._seen(eyes)}"
        return self.db.execute(query).fetchone()[0]  # type: ignore[no-any-return]

    def filed(self, eyes: SearchViewer) -> int | None:
        """Return how many have a card, while not all projects of the beginning have one; else
        None.
        """
        if self.db.execute("SELECT whole FROM meta").fetchone()[0]:
            return None
        count: int
        (count,) = self.db.execute(
            f"SELECT count(*) FROM project WHERE 1 {self._seen(eyes)}"
        ).fetchone()
        return count

    def _seen(
        self, eyes: SearchViewer, table: str = "project", place: str = "project.place"
    ) -> str:
        """Return the end of a WHERE clause that restricts the result to what the viewer sees."""
        if eyes.see_all:
            return ""
        # globs: few tokens have them
        if eyes.by.within is not None:
            self.db.create_function("sees", 1, eyes.sees, deterministic=True)
            return f"AND sees((SELECT its.name FROM project AS its WHERE its.place = {place}))"
        self._prepare(eyes)
        return f"AND {place} {'NOT IN' if eyes.by.usual else 'IN'} (SELECT place FROM temp.others)"

    def _prepare(self, eyes: SearchViewer) -> None:
        """Put the places of the exceptions into a table of this connection, until they change."""
        generation = self.db.execute("SELECT generation FROM meta").fetchone()[0]
        by, gone = eyes.by, eyes.gone
        if self._prepared is not None:
            known, without, then = self._prepared
            if then == generation and known is by and without == gone:
                return
        self._prepared = None
        others = (
            [*by.others, *gone] if by.usual else [name for name in by.others if name not in gone]
        )
        self.db.execute("CREATE TABLE IF NOT EXISTS temp.others(place INTEGER PRIMARY KEY)")
        self.db.execute("DELETE FROM temp.others")
        places = (
            "SELECT its.place FROM json_each(?) AS other CROSS JOIN project AS its ON its.name = "
            "other.value"
        )
        self.db.execute(f"INSERT OR IGNORE INTO temp.others {places}", (json.dumps(others),))
        self._prepared = by, gone, generation


def _shown(
    name: str, version: str, summary: str, ours: int, updated: float | None, keywords: str
) -> FoundProject:
    return FoundProject(
        name=ProjectName(name),
        version=version,
        summary=summary,
        ours=bool(ours),
        updated=None if updated is None else datetime.fromtimestamp(updated, UTC),
        keywords=tuple(keywords.split("\n")) if keywords else (),
    )


# Cards of projects, made from their visible files and the core metadata of their newest release.
# Pure.

MOST_KEYWORDS, LONGEST_KEYWORD = 30, 50
MOST_CLASSIFIERS, LONGEST_CLASSIFIER = 60, 200
LONGEST_LICENSE = 200
"""Characters: many projects put the whole text there."""
MINORS = {2: range(6, 8), 3: range(21)}
"""The versions of Python that can be searched for."""
NOTHING = ProjectDescription()


@frozen
class CardSource:
    """The visible state of a project, as it is indexed."""

    project: Project
    ours: bool
    mark: str
    """Differs when something of it has changed."""
    until: datetime | None = None
    """When that changes by itself."""


@frozen
class Filed:
    """A card, and what is needed to make the next one."""

    card: Card
    mark: str
    until: datetime | None = None
    described: str | None = None
    """The SHA-256 of the metadata that the description was made of; "" if there is none; None: it
    is `unread`.
    """
    description: ProjectDescription = NOTHING
    unread: File | None = None
    """The file whose metadata is still to be read."""

    @property
    def name(self) -> ProjectName:
        """The name of the project."""
        return self.card.name


def filed(seen: CardSource, described: str | None, description: ProjectDescription) -> Filed:
    """Return the card. `described` and `description`: the result of its earlier metadata, valid
    while that is unchanged.
    """
    project = seen.project
    version = choose_release(project)
    release = None if version is None else release_of(project, version)
    file = None if version is None else describing_file(project, version)
    if isinstance(file, ListedFile):
        file = None  # it is stored upstream only, which is not asked
    wanted = (file.metadata_sha256 or "") if file is not None else ""
    is_known = described == wanted or not wanted
    if not is_known or not wanted:
        description = NOTHING
    card = _card(project, seen.ours, release, description)
    now_described, unread = (wanted, None) if is_known else (None, file)
    return Filed(card, seen.mark, seen.until, now_described, description, unread)


def filed_all(
    seen: Sequence[CardSource], known: Mapping[ProjectName, tuple[str | None, ProjectDescription]]
) -> list[Filed]:
    """Return the cards. `known`: `described` and `description` of earlier ones, see `filed`."""
    return [filed(each, *known.get(each.project.name, (None, NOTHING))) for each in seen]


def with_metadata(
    seen: Sequence[CardSource], cards: Sequence[Filed], read: Mapping[ProjectName, bytes]
) -> list[Filed]:
    """Return the cards; new ones where the metadata was read."""
    made = []
    for each, card in zip(seen, cards, strict=True):
        if card.unread is not None and card.name in read:
            card = filed(each, card.unread.metadata_sha256, describe(read[card.name]))
        made.append(card)
    return made


def mark_of(rules: str, local: int, upstream: int) -> str:
    """Return a mark that differs when the project is to be indexed again. `rules`: the visibility
    rules, and what serials mean.
    """
    return f"{rules} {local} {upstream}"


def differing_cards(
    held: Mapping[ProjectName, str], lists: tuple[Summaries, Summaries, Summaries], rules: str
) -> tuple[dict[ProjectName, None], set[ProjectName]]:
    """Return what is to be indexed, and what is to be removed. `held`: the marks of all cards;
    `lists`: the visible, the local and the upstream projects.
    """
    names, *halves = lists
    local = {summary.name: summary.serial for summary in halves[0]}
    upstream = {summary.name: summary.serial for summary in halves[1]}
    todo: dict[ProjectName, None] = {}
    for name in (summary.name for summary in names):
        own, other = local.get(name, 0), upstream.get(name, 0)
        # a local project hides the upstream one, unless both are blended
        if held.get(name) not in (mark_of(rules, own, other), mark_of(rules, own, 0)):
            todo[name] = None
    return todo, set(held.keys() - {summary.name for summary in names})


def _card(
    project: Project, ours: bool, release: Release | None, description: ProjectDescription
) -> Card:
    times = [file.uploaded for file in project.files if file.uploaded is not None]
    files = release.files if release is not None else ()
    specifiers = [file.requires_python for file in files if file.requires_python] or [
        description.requires_python
    ]
    return Card(
        name=project.name,
        ours=ours,
        version=release.version if release is not None else "",
        summary=_encodable(
            description.summary or next((file.summary for file in files if file.summary), "")
        ),
        yanked=release is None or release.is_yanked,
        created=min(times, default=None),
        updated=max(times, default=None),
        keywords=description.keywords,
        license=description.license,
        classifiers=description.classifiers,
        pythons=_together([pythons(text) for text in dict.fromkeys(specifiers)]),
    )


def _together(found: list[frozenset[str] | None]) -> frozenset[str] | None:
    return (
        None if None in found else frozenset().union(*(some for some in found if some is not None))
    )


@lru_cache(maxsize=1024)
def pythons(requires_python: str) -> frozenset[str] | None:
    """Return the versions that it allows, as `Query.python`; None: any, also where it is
    invalid.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # here, since no page needs it

    if not requires_python.strip():
        return None
    try:
        wanted = SpecifierSet(requires_python[:500])
    except InvalidSpecifier:
        return None
    fitting = {
        f"{major}.{minor}"
        for major, minors in MINORS.items()
        for minor in minors
        if any(wanted.contains(f"{major}.{minor}.{micro}") for micro in (0, 1, 4, 9, 99))
    }
    return frozenset({*fitting, *(minor.partition(".")[0] for minor in fitting)})


# --- metadata -------------------------------------------------------------------------------------


def describe(metadata: bytes) -> ProjectDescription:
    """Return what core metadata says. Never raises: unreadable metadata gives an empty
    description.
    """
    # the text below the head is a long description, which is not searched
    head = metadata.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    read = read_metadata(head + b"\n\n")
    fields = read.fields
    classifiers = _texts(fields, "classifiers")[:MOST_CLASSIFIERS]
    return ProjectDescription(
        summary=_encodable(read.summary or ""),
        keywords=_keywords(_texts(fields, "keywords")),
        license=_license(fields, classifiers),
        classifiers=tuple(text[:LONGEST_CLASSIFIER] for text in classifiers),
        requires_python=read.requires_python or "",
    )


def _texts(fields: Mapping[str, Any], word: str) -> list[str]:
    value = fields.get(word) or ()
    return [_encodable(text.strip()) for text in value if isinstance(text, str) and text.strip()]


def _keywords(texts: list[str]) -> tuple[str, ...]:
    """Return keywords separated by commas, as specified; or, as many write them, by blanks only."""
    if len(texts) == 1:
        texts = texts[0].split()
    plain = (" ".join(text.split())[:LONGEST_KEYWORD] for text in texts)
    return tuple(dict.fromkeys(text for text in plain if text))[:MOST_KEYWORDS]


def _license(fields: Mapping[str, Any], classifiers: list[str]) -> str:
    licenses = [fields.get("license_expression"), fields.get("license")]
    texts = [" ".join(text.split())[:LONGEST_LICENSE] for text in licenses if isinstance(text, str)]
    texts += [
        text.rpartition("::")[2].strip()
        for text in classifiers
        if text.lower().startswith("license ::")
    ]
    return _encodable(", ".join(text for text in texts if text and text != "UNKNOWN"))


def _encodable(text: str) -> str:
    """Return the text with what UTF-8 cannot encode, and NUL, as ``?``."""
    return text.encode(errors="replace").decode().replace("\0", "?")


_SCHEMA = (
    "CREATE TABLE meta(basis TEXT NOT NULL, generation INTEGER NOT NULL, whole INTEGER NOT NULL)",
    "CREATE TABLE project(place INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, mark TEXT NOT "
    "NULL, ours INTEGER NOT NULL, version TEXT NOT NULL, summary TEXT NOT NULL, keywords TEXT "
    "NOT NULL, created REAL, updated REAL, until REAL, unread INTEGER NOT NULL, described TEXT, "
    "description BLOB)",
    "CREATE INDEX by_created ON project(created) WHERE created IS NOT NULL",
    "CREATE INDEX by_updated ON project(updated) WHERE updated IS NOT NULL",
    "CREATE INDEX by_until ON project(until) WHERE until IS NOT NULL",
    "CREATE INDEX by_unread ON project(unread) WHERE unread",
    TABLE,
)
READERS = 4
"""Connections that read concurrently."""
LAYOUT = "1"
"""The version of the layout. Older files are rebuilt, as they are when `_SCHEMA` changes."""

_PUT = (
    "INSERT INTO project(place, name, mark, ours, version, summary, keywords, created, updated, "
    "until, unread, described, description) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INDEX = f"INSERT INTO words(rowid, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)})"
_encoder = msgspec.json.Encoder()


class IndexOutdated(Exception):
    """The file is outdated or damaged: the writing process rebuilds it."""


@define(eq=False)
class SearchIndex:
    """The cards of one index. `path` None: in memory, of this process alone. `basis` names the
    content; another basis means another file.

    Reading raises `IndexOutdated` where nothing is readable (yet).
    """

    path: Path | None
    basis: str
    _writer: sqlite3.Connection | None = field(default=None, init=False, repr=False)
    _file: tuple[int, int] | None = field(default=None, init=False)
    """The file that the writer has opened."""
    _lock: IO[bytes] | None = field(default=None, init=False, repr=False)
    _turn: Lock = field(factory=Lock, init=False, repr=False)
    """The lock of the one connection to an index in memory."""
    _readers: list[Reader] = field(factory=list, init=False, repr=False)
    """Idle connections."""
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.basis = f"{LAYOUT} {hash_of(_SCHEMA)} {self.basis}"

    # --- the writer ---

    @property
    def opened(self) -> object:
        """The connection that is written to: another object after a rebuild; None: not open."""
        return self._writer

    def claim(self) -> bool:
        """Become the writing process, unless another process is; with a valid file, empty if it was
        not valid.

        Raises `OSError`, `sqlite3.Error`.
        """
        if self.path is not None and self._lock is None:
            self._lock = locked(self.path.with_suffix(".lock"))
            if self._lock is None:
                return False
        if self._writer is not None and self.path is not None and which(self.path) != self._file:
            self.discard()  # a reader found that it is damaged
        if self._writer is None:
            self._begin()
        return True

    def _begin(self) -> None:
        try:
            self._writer = self._opened()
        except sqlite3.DatabaseError:
            self.discard()
            self._writer = self._opened()

    def _opened(self) -> sqlite3.Connection:
        """Return the file, if its basis matches, or a new one in it. Raises `sqlite3.DatabaseError`
        for a damaged one.
        """
        if self.path is not None:
            with suppress(FileExistsError):
                os.close(
                    os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                )
        made = connect(self.path)
        try:
            made.execute("PRAGMA journal_mode = WAL")
            if (
                basis_of(made) != self.basis
                or made.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok"
            ):
                self._make(made)
        except BaseException:
            made.close()
            raise
        self._file = None if self.path is None else which(self.path)
        return made

    def _make(self, made: sqlite3.Connection) -> None:
        if made.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError("it is of another kind, or damaged")
        with transaction(made):
            for statement in _SCHEMA:
                made.execute(statement)
            made.execute("INSERT INTO meta VALUES (?, 0, 0)", (self.basis,))

    def discard(self) -> None:
        """Remove the file, whatever it is: the next `claim` rebuilds it."""
        self._let_go()
        if self.path is not None:
            for suffix in ("", "-wal", "-shm", "-journal"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _let_go(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        with self._turn:
            for reader in self._readers:
                reader.close()
            self._readers.clear()

    def close(self) -> None:
        """Close all connections, and release the lock."""
        self._closed = True
        self._let_go()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # --- writing ---

    def held(self) -> Mapping[ProjectName, str]:
        """Return all names, with their marks."""
        with self._writing() as db:
            found = db.execute("SELECT json_group_object(name, mark) FROM project").fetchone()[0]
        return json.loads(found)  # type: ignore[no-any-return]

    def descriptions(
        self, names: Sequence[ProjectName]
    ) -> Mapping[ProjectName, tuple[str | None, ProjectDescription]]:
        """Return the descriptions of these projects, and the metadata that they were made of."""
        query = (
            "SELECT name, described, description FROM project WHERE name IN (SELECT value FROM "
            "json_each(?))"
        )
        with self._writing() as db:
            rows = db.execute(query, (json.dumps(names),)).fetchall()
        return {
            name: (described, msgspec.json.decode(text, type=ProjectDescription))
            for name, described, text in rows
        }

    def put(self, cards: Sequence[Filed], gone: Sequence[ProjectName] = ()) -> None:
        """Write these cards, in place of older ones, and remove those of `gone`; as one step."""
        names = json.dumps([*gone, *(card.name for card in cards)])
        with self._writing() as db:
            old = db.execute(
                "SELECT place FROM project WHERE name IN (SELECT value FROM json_each(?))", (names,)
            ).fetchall()
            db.executemany("DELETE FROM words WHERE rowid = ?", old)
            db.executemany("DELETE FROM project WHERE place = ?", old)
            places = _places(db, cards)
            db.executemany(
                _PUT, [_row(place, filed) for place, filed in zip(places, cards, strict=True)]
            )
            db.executemany(
                _INDEX,
                [(place, *words(filed.card)) for place, filed in zip(places, cards, strict=True)],
            )
            db.execute("UPDATE meta SET generation = generation + 1")

    def is_whole(self) -> None:
        """Note that every project of the beginning has a card."""
        with self._writing() as db:
            db.execute("UPDATE meta SET whole = 1, generation = generation + 1")

    def unread(self, most: int) -> Sequence[ProjectName]:
        """Return some projects with unread metadata, in the order in which a search shows them."""
        with self._writing() as db:
            rows = db.execute(
                "SELECT name FROM project WHERE unread ORDER BY place DESC LIMIT ?", (most,)
            ).fetchall()
        return [name for (name,) in rows]

    def due(self, now: float) -> Sequence[ProjectName]:
        """Return the projects whose visible state has changed with time."""
        with self._writing() as db:
            rows = db.execute("SELECT name FROM project WHERE until <= ?", (now,)).fetchall()
        return [name for (name,) in rows]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if self._writer is None:
            raise IndexOutdated()
        if self.path is None:
            with self._turn, transaction(self._writer):
                yield self._writer
        else:
            with transaction(self._writer):
                yield self._writer

    # --- reading ---

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Yield a reader of one consistent state. Raises `IndexOutdated`."""
        if self.path is None:
            if self._writer is None:
                raise IndexOutdated()
            with self._turn, transaction(self._writer):
                yield Reader(self._writer, None)
            return
        try:
            reader = self._taken(self.path)
            try:
                with transaction(reader.db):
                    if basis_of(reader.db) != self.basis:
                        raise IndexOutdated()
                    yield reader
            except BaseException:
                reader.close()
                raise
        except sqlite3.OperationalError:  # busy for very long, or the disk fails
            raise IndexOutdated() from None
        except sqlite3.DatabaseError:
            self.path.unlink(missing_ok=True)  # which notifies the writer
            raise IndexOutdated() from None
        with self._turn:
            if len(self._readers) < READERS and not self._closed:
                self._readers.append(reader)
                return
        reader.close()

    def _taken(self, path: Path) -> Reader:
        file = which(path)
        if file is None:
            raise IndexOutdated()
        with self._turn:
            while self._readers:
                reader = self._readers.pop()
                if reader.file == file:
                    return reader
                reader.close()
        reader = Reader(connect(path), file)
        if which(path) != file:  # it may have opened one file, and the log of another
            reader.close()
            raise IndexOutdated()
        return reader


def _places(db: sqlite3.Connection, cards: Sequence[Filed]) -> Sequence[int]:
    """Return a free place for each card: nearly always its standing, for a few just below."""
    wanted = [status_rank(filed.card) for filed in cards]
    rows = db.execute(
        "SELECT place FROM project WHERE place IN (SELECT value FROM json_each(?))",
        (json.dumps(wanted),),
    )
    taken = {place for (place,) in rows}
    found = []
    for place in wanted:
        while place in taken:
            place -= 1
            if db.execute("SELECT 1 FROM project WHERE place = ?", (place,)).fetchone() is not None:
                taken.add(place)
        taken.add(place)
        found.append(place)
    return found


def _row(place: int, filed: Filed) -> tuple[object, ...]:
    card = filed.card
    times = (
        None if moment is None else moment.timestamp()
        for moment in (card.created, card.updated, filed.until)
    )
    texts = (card.name, filed.mark, card.ours, card.version, card.summary, "\n".join(card.keywords))
    return (
        place,
        *texts,
        *times,
        filed.unread is not None,
        filed.described,
        _encoder.encode(filed.description),
    )
