"""How an index shows what it inherits from its bases. Pure.

The first index that has a project provides all its files. The rules of an index are applied to the
views that it inherits; they can only hide more files.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from attrs import evolve
from msgspec.structs import replace

from pypid.core.cooldown import NEVER, Cooldown
from pypid.core.indexes import IndexSettings
from pypid.core.model import File, Project, StoredFile, in_order
from pypid.core.packaging.block_spec import BlockSpec
from pypid.core.packaging.globs import matches
from pypid.core.packaging.names import ProjectName
from pypid.core.records.layout import INDEXES, UPSTREAMS
from pypid.core.simple_api.listed_files import ListedFiles
from pypid.core.simple_api.shown_files import ShownFiles

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
    """Return whether the page of a project lists the local files of the index and of all its
    bases.
    """
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
