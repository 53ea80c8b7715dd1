"""Cards of projects, made from their visible files and the core metadata of their newest release.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from attrs import frozen

from pypid.core.model import File, ListedFile, Project
from pypid.core.packaging.core_metadata import read_metadata
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import Release, choose_release, describing_file, release_of
from pypid.core.search.ranking import Card, ProjectDescription
from pypid.core.summaries import Summaries

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
