"""What the page of a project shows: one release, those before and after it, and facts of their
metadata. Pure and bounded.

It is computed once for each change of the project: a project may have ten thousand files.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import getaddresses
from enum import Enum
from typing import Any
from urllib.parse import quote, urlsplit

from attrs import field, frozen

from pypid.core.model import File, Project, StoredFile
from pypid.core.packaging.core_metadata import Needs, needs_of, read_metadata
from pypid.core.packaging.names import (
    ProjectName,
    is_prerelease,
    version_key,
)
from pypid.core.packaging.releases import (
    Release,
    choose_release,
    describing_file,
    releases,
    requested_key,
)
from pypid.core.restrictions import Hold

MOST_FILES = 200
"""Maximum files of a release on its page; the Simple API has all of them."""
LARGEST_INSIDE = 4 << 20
"""Maximum bytes of a file that is opened for its page."""
MOST_RELEASES = 20
"""Maximum releases on the page of one; another page lists all."""


class Whose(Enum):
    """The origin of a project; the values are shown."""

    OURS = "local"
    UPSTREAM = "upstream"
    BOTH = "local and upstream"


class Age(Enum):
    """The relation of a release to the one that installers choose."""

    CHOSEN = "chosen"
    OLDER = "older"
    NEWER = "newer"
    """A pre-release, or yanked."""


@frozen
class ReleaseLine:
    """A release in a list. `uploaded`: its first file; `size` in bytes, None if any is unknown."""

    version: str
    uploaded: datetime | None
    files: int
    size: int | None
    is_yanked: bool
    yanked_reason: str | None
    is_prerelease: bool
    requires_python: str | None
    hold: Hold | None = None
    """Why a rule withholds all its files."""


@frozen
class FileLine:
    """A file in a list. `requires_python` only if it differs from the release's."""

    file: File
    requires_python: str | None


@frozen(kw_only=True)
class ShownRelease:
    """A release for its page, with the project's other releases."""

    name: ProjectName
    line: ReleaseLine
    files: tuple[FileLine, ...]
    """At most `MOST_FILES`, sdists first."""
    newest: str
    """The version that installers choose."""
    age: Age
    older: str | None
    """The previous release, for a comparison; preferably one that is not yanked."""
    describing: File | None
    """The file whose metadata describes the release."""
    inside: File | None
    """If there is none: a stored file that contains its metadata."""
    summary: str | None
    """The summary from the upload; the metadata may have more."""
    whose: Whose


def shown(project: Project, version: str | None) -> ShownRelease | None:
    """Return the release (in any spelling; None: the one that installers choose), or None if there
    is no such release.
    """
    chosen, newest = choose_release(project, version), choose_release(project)
    if chosen is None or newest is None:
        return None
    each = releases(project)
    place = next(number for number, release in enumerate(each) if release.version == chosen)
    release = each[place]
    requires = requires_python_of(release)
    files = sorted(release.files, key=lambda file: file.filename.endswith(".whl"))[:MOST_FILES]
    describing = describing_file(project, chosen) or _tellable(release)
    return ShownRelease(
        name=project.name,
        line=line_of(release),
        files=tuple(FileLine(file, _differing(file, requires)) for file in files),
        newest=newest,
        age=_age(chosen, newest),
        older=_before(each[:place]),
        describing=describing,
        inside=None if describing is not None else _to_be_opened(release),
        summary=next((file.summary for file in release.files if file.summary), None),
        whose=whose(project),
    )


@frozen
class ReleaseLines:
    """All releases of a project, the newest first, with those that are withheld; `newest` is the
    version that installers choose, if any. `has_hidden`: a rule hides files of the project.
    """

    newest: str | None
    each: tuple[ReleaseLine, ...]
    has_hidden: bool = False

    def held(self, version: str) -> ReleaseLine | None:
        """Return the withheld release of this version, in any spelling; or None."""
        wanted = requested_key(version)
        for line in self.each:
            is_wanted = line.version == version or version_key(line.version) == wanted
            if is_wanted and line.hold is not None:
                return line
        return None


def all_lines(
    project: Project, held: Iterable[ReleaseLine] = (), *, has_hidden: bool = False
) -> ReleaseLines:
    """Return all releases of the project. `held`: the releases of which rules withhold files."""
    lines = [line_of(release) for release in releases(project)]
    visible = {version_key(line.version) for line in lines}
    lines += [line for line in held if version_key(line.version) not in visible]
    lines.sort(key=lambda line: version_key(line.version), reverse=True)
    return ReleaseLines(choose_release(project), tuple(lines), has_hidden)


def line_of(release: Release, hold: Hold | None = None) -> ReleaseLine:
    """Return the release as a line of a list."""
    sizes = [file.size for file in release.files]
    known = [size for size in sizes if size is not None]
    times = [file.uploaded for file in release.files if file.uploaded is not None]
    return ReleaseLine(
        version=release.version,
        uploaded=min(times, default=None),
        files=len(release.files),
        size=sum(known) if len(known) == len(sizes) else None,
        is_yanked=release.is_yanked,
        yanked_reason=release.yanked_reason,
        is_prerelease=is_prerelease(release.version),
        requires_python=requires_python_of(release),
        hold=hold,
    )


def requires_python_of(release: Release) -> str | None:
    """Return the requirement that most installers see: that of the wheels, or of any other file."""
    restricted = [file for file in release.files if file.requires_python]
    chosen = min(restricted, key=lambda file: not file.filename.endswith(".whl"), default=None)
    return None if chosen is None else chosen.requires_python


def whose(project: Project) -> Whose:
    """Return the origin of the project, which must have files."""
    ours = sum(1 for file in project.files if file.source is None)
    if ours == len(project.files):
        return Whose.OURS
    return Whose.BOTH if ours else Whose.UPSTREAM


def _differing(file: File, requires: str | None) -> str | None:
    return (file.requires_python or "any") if file.requires_python != requires else None


def _age(version: str, newest: str) -> Age:
    if version == newest:
        return Age.CHOSEN
    return Age.OLDER if version_key(version) < version_key(newest) else Age.NEWER


def _before(earlier: tuple[Release, ...]) -> str | None:
    """Return the one of the earlier releases, oldest first, to compare with."""
    good = next((release for release in reversed(earlier) if not release.is_yanked), None)
    found = good or (earlier[-1] if earlier else None)
    return None if found is None else found.version


def _tellable(release: Release) -> File | None:
    """Return an upstream file whose metadata is not known here yet but may be available: upstream
    offers it, or it is a wheel.
    """
    upstream_files = [file for file in release.files if file.source is not None]
    found = (
        file for file in upstream_files if file.metadata_offered or file.filename.endswith(".whl")
    )
    return min(found, key=lambda file: not file.metadata_offered, default=None)


def _to_be_opened(release: Release) -> File | None:
    """Return a small stored file: old sdists have a PKG-INFO that users can read."""
    here = (file for file in release.files if isinstance(file, StoredFile) and not file.archived)
    return next((file for file in here if file.size <= LARGEST_INSIDE), None)


def is_pkg_info(path: str) -> bool:
    """Return whether the path is that of the metadata in an sdist, an egg, or a wheel."""
    folder, _, name = path.rpartition("/")
    return (
        name == "PKG-INFO" and "/" not in folder
        if name != "METADATA"
        else folder.endswith(".dist-info")
    )


# The core metadata of a release for display: its authors, licence, links and requirements.
#
# All of it is untrusted text: it is bounded here, links lead only to web pages or mail addresses,
# and the page escapes it. Sources: "Core metadata specifications", PEP 639 (licences), PEP 753
# (well-known project URLs).

LONGEST_DESCRIPTION = 120_000
"""Characters of a README on a page; the largest ones have more than 400 kB."""
LONGEST = 300
"""Maximum characters of any other text."""
MOST_PEOPLE, MOST_KEYWORDS, MOST_CLASSIFIERS, MOST_LINKS = 20, 40, 150, 40

_UNKNOWN = "UNKNOWN"
_DROPPED = str.maketrans("", "", string.punctuation + string.whitespace)
_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+\Z"
)
_WELL_KNOWN = (
    ("Homepage", ("homepage",)),
    ("Documentation", ("documentation", "docs")),
    ("Source", ("source", "repository", "sourcecode", "github")),
    ("Changelog", ("changelog", "changes", "whatsnew", "history")),
    ("Release notes", ("releasenotes",)),
    ("Issues", ("issues", "bugs", "issue", "tracker", "issuetracker", "bugtracker")),
    ("Download", ("download",)),
    ("Funding", ("funding", "sponsor", "donate", "donation")),
)
"""PEP 753's labels as displayed, with their aliases in its normal form, in display order."""
_RANKS = {alias: rank for rank, (_, aliases) in enumerate(_WELL_KNOWN) for alias in aliases}
_LICENCE = "License"


@frozen
class Contact:
    """An author or maintainer. `mailto` is the target of a link; None without a valid address."""

    name: str
    address: str | None = None

    @property
    def mailto(self) -> str | None:
        """The ``mailto:`` link, if there is an address."""
        return None if self.address is None else f"mailto:{quote(self.address, safe='@')}"


@frozen
class ProjectLink:
    """A project's link: its label, its URL (None if that is not safe), and the text to show."""

    label: str
    url: str | None
    shown: str


@frozen
class ClassifierKind:
    """Classifiers of one kind (``Programming Language``): each without the kind, and in full."""

    name: str
    each: tuple[tuple[str, str], ...]


@frozen(kw_only=True)
class Facts:
    """The metadata for display. Texts are plain, on one line (except the description)."""

    name: str | None = None
    """The name as its authors spell it."""
    summary: str | None = None
    description: str = field(default="", repr=False)
    is_cut: bool = False
    """Whether the description is truncated."""
    content_type: str | None = None
    authors: tuple[Contact, ...] = ()
    maintainers: tuple[Contact, ...] = ()
    licence: str | None = None
    """The License-Expression."""
    licence_text: str | None = None
    """The first line of the older License field."""
    licences: tuple[tuple[str, str], ...] = ()
    """Classifiers of licences, as `ClassifierKind.each`."""
    requires_python: str | None = None
    keywords: tuple[str, ...] = ()
    kinds: tuple[ClassifierKind, ...] = ()
    links: tuple[ProjectLink, ...] = ()
    platforms: tuple[str, ...] = ()
    needs: Needs = Needs()
    weight: int = 0
    """Approximate memory use."""


NOTHING = Facts()
"""The facts of a release without available metadata."""


def facts_of(data: bytes) -> Facts:
    """Return the facts in this METADATA. Never raises. May take some 50 ms (many requirements), so
    do not call it in the reactor's thread.
    """
    metadata = read_metadata(data)
    fields = metadata.fields
    description, is_cut = _description(fields.get("description"))
    classifiers = list(_each(fields, "classifiers"))[:MOST_CLASSIFIERS]
    licences = [each for each in classifiers if each.split("::")[0].strip() == _LICENCE]
    return Facts(
        name=metadata.name if metadata.project else None,
        summary=metadata.summary,
        description=description,
        is_cut=is_cut,
        content_type=line(fields.get("description_content_type")),
        authors=people(fields.get("author"), fields.get("author_email")),
        maintainers=people(fields.get("maintainer"), fields.get("maintainer_email")),
        licence=line(fields.get("license_expression")),
        licence_text=_first_line(fields.get("license")),
        licences=tuple((each.rpartition("::")[2].strip(), each) for each in licences),
        requires_python=metadata.requires_python,
        keywords=keywords(fields.get("keywords") or ()),
        kinds=_kinds(each for each in classifiers if each not in licences),
        links=links(fields),
        platforms=tuple(dict.fromkeys(_each(fields, "platforms")))[:MOST_KEYWORDS],
        needs=needs_of(
            tuple(_each(fields, "requires_dist", 2000)), tuple(_each(fields, "provides_extra"))
        ),
        weight=len(data) + 2000,
    )


def line(value: object, most: int = LONGEST) -> str | None:
    """Return a field's text on one line, printable, up to `most` characters; None if empty."""
    text = value.strip() if isinstance(value, str) else ""
    if text in ("", _UNKNOWN):
        return None
    text = "".join(letter for letter in " ".join(text[: most * 4].split()) if letter.isprintable())
    return (text if len(text) <= most else text[: most - 1] + "…") or None


def people(names: object, addresses: object) -> tuple[Contact, ...]:
    """Return each person of ``Author`` and ``Author-email`` (or a maintainer's) once."""
    named, mailed = line(names), line(addresses, 2000)
    found: list[Contact] = []
    try:
        pairs = getaddresses([mailed]) if mailed else []
    except RecursionError:  # nested comments, which RFC 5322 allows
        pairs = [(str(line(mailed)), "")]
    for name, address in pairs:
        shown, good = line(name), address if _ADDRESS.match(address) else None
        if shown or good or address:
            found.append(Contact(shown or address[:LONGEST], good))
    if named and len(found) == 1 and found[0].name == found[0].address:
        return (Contact(named, found[0].address),)
    if named and named not in {person.name for person in found}:
        found.insert(0, Contact(named))
    return tuple(dict.fromkeys(found))[:MOST_PEOPLE]


def keywords(fields: Iterable[str]) -> tuple[str, ...]:
    """Return each keyword once: separated by commas, or, if there are none, by blanks."""
    each = [text for text in fields if isinstance(text, str)]
    if len(each) == 1:
        each = each[0].split(",") if "," in each[0] else each[0].split()
    lines = (line(text, 60) for text in each[: MOST_KEYWORDS * 4])
    return tuple(dict.fromkeys(text for text in lines if text))[:MOST_KEYWORDS]


def links(fields: Mapping[str, Any]) -> tuple[ProjectLink, ...]:
    """Return the project's links, well-known ones first, each address once."""
    urls = fields.get("project_urls")
    pairs = [
        (str(label), str(url)) for label, url in (urls.items() if isinstance(urls, Mapping) else ())
    ]
    for label, word in (("Homepage", "home_page"), ("Download", "download_url")):
        if line(fields.get(word)):
            pairs.append((label, str(fields[word])))
    found: dict[str, tuple[int, ProjectLink]] = {}
    for label, url in pairs[: MOST_LINKS * 2]:
        rank = _RANKS.get(label.translate(_DROPPED).lower(), len(_WELL_KNOWN))
        text = line(url, 2000)
        if text is not None and text not in found:
            found[text] = rank, _link(line(label, 80) or "Link", text)
    return tuple(link for _, link in sorted(found.values(), key=lambda each: each[0]))[:MOST_LINKS]


def safe_url(text: str) -> str | None:
    """Return the address if it is that of a web page: http or https, with a host, and without user
    information (which could imitate a host).
    """
    if (
        len(text) > 2000
        or not text.isprintable()
        or any(letter.isspace() or letter in '\\"<>' for letter in text)
    ):
        return None
    try:
        url = urlsplit(text)
        fits = url.scheme in ("http", "https") and url.hostname and "@" not in url.netloc
        return text if fits and url.port != 0 else None
    except ValueError:
        return None


def _link(label: str, text: str) -> ProjectLink:
    url = safe_url(text)
    return ProjectLink(label, url, shorter(urlsplit(url).netloc if url else text, 80))


def shorter(text: str, most: int) -> str:
    """Return `text`, truncated to `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _description(value: object) -> tuple[str, bool]:
    """Return the README, cut between two paragraphs if it is too long, and whether it was cut."""
    text = value if isinstance(value, str) and value.strip() not in ("", _UNKNOWN) else ""
    if len(text) <= LONGEST_DESCRIPTION:
        return text, False
    end = text.rfind("\n\n", LONGEST_DESCRIPTION // 2, LONGEST_DESCRIPTION)
    return text[: end if end > 0 else LONGEST_DESCRIPTION], True


def _first_line(value: object) -> str | None:
    """Return the first line of a licence, which may be a full text."""
    text = value.strip() if isinstance(value, str) else ""
    first, _, more = text.partition("\n")
    shown = line(first, 120)
    return f"{shown} …" if shown and more.strip() and not shown.endswith("…") else shown


def _each(fields: Mapping[str, Any], word: str, most: int = LONGEST) -> Iterator[str]:
    values: Sequence[object] = fields.get(word) or ()
    for value in values:
        text = line(value, most)
        if text:
            yield text


def _kinds(classifiers: Iterable[str]) -> tuple[ClassifierKind, ...]:
    grouped: dict[str, list[tuple[str, str]]] = {}
    for whole in dict.fromkeys(classifiers):
        kind, _, rest = whole.partition("::")
        grouped.setdefault(kind.strip(), []).append((rest.strip() or kind.strip(), whole))
    return tuple(ClassifierKind(name, tuple(each)) for name, each in grouped.items())
