"""Builds a tree from a list of files, in an order in which no page ever names a missing one.

Projects first, then the lists of them, then removals, and last ``packages.json``: the list that the
tree was made of, which the next run compares with, so it is written only once all that it says is
durable.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from itertools import chain

import msgspec
from attrs import evolve, frozen

from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName
from pypid.static.front import FEED, Latest, changelog, feed, first_page
from pypid.static.package_list import PackageList, PackageListEntry
from pypid.static.pages import (
    is_project_page,
    latest,
    list_pages,
    placed_files,
    project_pages,
    project_paths,
)
from pypid.static.settings import StaticSettings
from pypid.static.tree import PAGE, TreeTarget, WrittenPage, clear, put

THE_LIST = "packages.json"
_BATCH = 32
"""Number of projects after which progress is reported."""


@frozen
class BuildOutcome:
    """What a run did. `gone` counts projects of the previous list that are missing from this one
    and whose pages were left.
    """

    projects: int
    written: int = 0
    same: int = 0
    removed: int = 0
    gone: int = 0


def build(
    listed: PackageList,
    target: TreeTarget,
    settings: StaticSettings,
    *,
    previous: PackageList | None = None,
    delete: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> BuildOutcome:
    """Write the pages that differ. With `previous`, the list that the tree was made of, only
    projects that differ between the lists are looked at. With `delete` obsolete pages are removed.
    `on_progress` is called with the number of projects done, and their total.
    """
    projects = listed.projects
    before = None if previous is None else previous.projects
    outcome = BuildOutcome(
        len(projects), gone=0 if before is None else len(before.keys() - projects.keys())
    )
    if projects == before and not delete:
        return outcome
    names = sorted(projects)
    changed = [name for name in names if before is None or before.get(name) != projects[name]]
    # In an empty target, 100,000 checks for existing pages would be wasted.
    lay = put if any(True for folder in ("simple", "pypi") for _ in target.list(folder)) else _write
    in_order: list[PackageListEntry] = []
    pages = chain(
        _pages_of_projects(changed, listed, settings, on_progress),
        _pages_of_all(names, listed, settings, in_order),
    )
    written = same = 0
    for path, body in pages:
        if lay(target, path, body):
            written += 1
        else:
            same += 1
    if delete:
        outcome = evolve(outcome, gone=0, removed=_clear(listed, target, settings))
    target.settle()
    # if this is lost, the next run has more to compare
    is_new = put(target, THE_LIST, the_list(in_order))
    return evolve(outcome, written=written + is_new, same=same + (not is_new))


def the_list(files: Iterable[PackageListEntry]) -> bytes:
    """Return the contents of ``packages.json``: one object per line, in ASCII, since dumb-pypi
    takes U+2028, for one, for the end of a line.
    """
    body = BytesIO()  # joining a million lines would hold each twice
    for one in files:
        line = _encoder.encode(one)
        body.write(line if line.isascii() else json.dumps(msgspec.json.decode(line)).encode())
        body.write(b"\n")
    return body.getvalue()


_encoder = msgspec.json.Encoder()


def _write(target: TreeTarget, path: str, body: bytes) -> bool:
    target.write(path, body)
    return True


def _pages_of_projects(
    names: Sequence[ProjectName],
    listed: PackageList,
    settings: StaticSettings,
    on_progress: Callable[[int, int], None],
) -> Iterator[WrittenPage]:
    for number, name in enumerate(names):
        if number % _BATCH == 0:
            on_progress(number, len(names))
        yield from project_pages(name, listed.projects[name].values(), settings)
    on_progress(len(names), len(names))


def _pages_of_all(
    names: Sequence[ProjectName],
    listed: PackageList,
    settings: StaticSettings,
    in_order: list[PackageListEntry],
) -> Iterator[WrittenPage]:
    """Yield the pages about all projects; `in_order` is filled with the files, by project and
    version, each once.
    """
    yield from list_pages([Summary(name, 0) for name in names], 0, PAGE)
    lines = []
    for name in names:
        found = placed_files(name, listed.projects[name].values())
        lines.append(Latest(name, latest(found)))
        in_order += [one.listed for one in found if one.first]
    newest_first = sorted(in_order, key=lambda one: -(one.upload_timestamp or 0))
    yield from changelog(newest_first, settings)
    yield WrittenPage(FEED, feed(newest_first, settings))
    yield WrittenPage(PAGE, first_page(lines, settings))


def _clear(listed: PackageList, target: TreeTarget, settings: StaticSettings) -> int:
    """Remove the pages of projects that are no longer listed; other files in the folder stay."""
    keep = {
        path
        for name, files in listed.projects.items()
        for path in project_paths(name, files.values(), settings)
    }
    keep.update(("simple/index.html", "simple/index.json"))
    return clear(target, ("simple", "pypi"), keep, is_project_page)
