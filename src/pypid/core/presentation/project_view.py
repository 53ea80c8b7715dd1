"""The view of a project's page: one release, and those before and after it. Pure and bounded.

It is computed once for each change of the project: a project may have ten thousand files.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import Enum

from attrs import frozen

from pypid.core.model import File, Project, StoredFile
from pypid.core.packaging.names import ProjectName, is_prerelease, version_key
from pypid.core.packaging.releases import (
    Release,
    choose_release,
    describing_file,
    releases,
    requested_key,
)
from pypid.core.packaging.tags import Fit, fit_of
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
    """A release in a list. `uploaded`: time of its first upload; `size` in bytes, None if that of a
    file is unknown.
    """

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
    """A file in a list, and the platforms that it runs on. `requires_python` only if it differs
    from the release's.
    """

    file: File
    fit: Fit
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
        files=tuple(
            FileLine(file, fit_of(file.filename), _differing(file, requires)) for file in files
        ),
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
    """Return a small stored file: old sdists have a PKG-INFO that installers do not trust but users
    can read.
    """
    here = (file for file in release.files if isinstance(file, StoredFile) and not file.archived)
    return next((file for file in here if file.size <= LARGEST_INSIDE), None)


def is_pkg_info(path: str) -> bool:
    """Return whether the path is that of the metadata in an sdist (``spam-1.0/PKG-INFO``), an egg,
    or a wheel.
    """
    folder, _, name = path.rpartition("/")
    return (
        name == "PKG-INFO" and "/" not in folder
        if name != "METADATA"
        else folder.endswith(".dist-info")
    )
