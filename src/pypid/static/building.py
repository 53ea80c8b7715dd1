"""A list becomes a tree, in an order in which no page ever names one that is not there.

Projects first, then what lists them, then what is gone goes, and last ``packages.json``: it is the
list that the tree was made of, for the next run to compare with, so it is only there when all that
it says has survived.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO

import msgspec
from attrs import evolve, frozen

from pypid.core.packaging.names import ProjectName
from pypid.static.front import FEED, Latest, changelog, feed, first_page
from pypid.static.pages import (
    is_project_page,
    latest,
    list_pages,
    project_pages,
    project_paths,
    standing,
)
from pypid.static.reading import PackageList, PackageListEntry
from pypid.static.settings import StaticSettings
from pypid.static.sharing import Done, shared_out
from pypid.static.tree import TreeTarget, clear, put

THE_LIST = "packages.json"
_BATCH = 32
"""Projects after which is said how far it is."""
_WORTH_A_PROCESS = 2000
"""Projects; below, another process costs more than it gains."""


@frozen
class BuildOutcome:
    """What a run did. `gone` counts projects of the previous list that this one has not, and whose
    pages were left.
    """

    projects: int
    done: Done = Done()
    removed: int = 0
    gone: int = 0


def build(
    listed: PackageList,
    target: TreeTarget,
    settings: StaticSettings,
    *,
    previous: PackageList | None = None,
    delete: bool = False,
    processes: int = 1,
    heard: Callable[[int, int], None] = lambda done, of: None,
) -> BuildOutcome:
    """Write what differs: with `previous`, the list that the tree was made of, only projects that
    the lists differ in are looked at. With `delete` pages go that are none any more. `heard` is
    told how many projects are done, of how many.
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
    total = Done()

    def add(done: Done) -> None:
        nonlocal total
        total += done
        heard(total.things, len(changed))

    def work(share: Sequence[ProjectName]) -> Iterator[Done]:
        return _write_projects(share, listed, partial(lay, target), settings)

    # Of an empty place nobody need ask 100,000 times what is there.
    lay = put if any(True for folder in ("simple", "pypi") for _ in target.list(folder)) else _write
    heard(0, len(changed))
    shared_out(changed, work, min(processes, 1 + len(changed) // _WORTH_A_PROCESS), add)
    in_order: list[PackageListEntry] = []
    for path, body in _pages_of_all(names, listed, settings, in_order):
        add(_counted(put(target, path, body)))
    if delete:
        outcome = evolve(outcome, gone=0, removed=_clear(listed, target, settings))
    target.settle()
    add(
        _counted(put(target, THE_LIST, the_list(in_order)))
    )  # if this is lost, the next run has more to compare
    return evolve(outcome, done=total)


def the_list(files: Iterable[PackageListEntry]) -> bytes:
    """The list itself, one object in each line; in ASCII, since dumb-pypi takes U+2028, for one,
    for the end of a line.
    """
    body = BytesIO()  # of a million lines joining would hold each twice
    for one in files:
        line = _encoder.encode(one)
        body.write(line if line.isascii() else json.dumps(msgspec.json.decode(line)).encode())
        body.write(b"\n")
    return body.getvalue()


_encoder = msgspec.json.Encoder()


def _write(target: TreeTarget, path: str, body: bytes) -> bool:
    target.write(path, body)
    return True


def _counted(written: bool) -> Done:
    return Done(written=1) if written else Done(same=1)


def _write_projects(
    names: Sequence[ProjectName],
    listed: PackageList,
    lay: Callable[[str, bytes], bool],
    settings: StaticSettings,
) -> Iterator[Done]:
    for start in range(0, len(names), _BATCH):
        written = same = 0
        batch = names[start : start + _BATCH]
        for name in batch:
            for path, body in project_pages(name, listed.projects[name].values(), settings):
                if lay(path, body):
                    written += 1
                else:
                    same += 1
        yield Done(len(batch), written, same)


def _pages_of_all(
    names: Sequence[ProjectName],
    listed: PackageList,
    settings: StaticSettings,
    in_order: list[PackageListEntry],
) -> Iterator[tuple[str, bytes]]:
    """The pages about all projects; `in_order` becomes the files, by project and version, each
    once.
    """
    yield from list_pages(names)
    lines = []
    for name in names:
        found = standing(name, listed.projects[name].values())
        lines.append(Latest(name, latest(found)))
        in_order += [one.listed for one in found if one.first]
    newest_first = sorted(in_order, key=lambda one: -(one.upload_timestamp or 0))
    yield from changelog(newest_first, settings)
    yield FEED, feed(newest_first, settings)
    yield "index.html", first_page(lines, settings)


def _clear(listed: PackageList, target: TreeTarget, settings: StaticSettings) -> int:
    """Remove the pages of what is no longer listed; other files that somebody has
    put there stay.
    """
    keep = {
        path
        for name, files in listed.projects.items()
        for path in project_paths(name, files.values(), settings)
    }
    keep.update(("simple/index.html", "simple/index.json"))
    return clear(target, ("simple", "pypi"), keep, is_project_page)
