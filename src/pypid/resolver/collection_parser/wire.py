"""The frames of a parsed collection from the child: of bounded size, each decoded in about a
millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field

from pypid.core.packaging.collection import CollectOptions
from pypid.core.packaging.install_targets import InstallTarget
from pypid.core.packaging.lock_files import DependencyList, Lock, Pin
from pypid.core.packaging.names import project_name
from pypid.core.packaging.requirements import Remark, RequirementLine, Requirements

FRAME = 128 << 10
"""Characters of a frame, about; one of a single item may have more."""

Document = Mapping[str, Any]


def frames_of(options: CollectOptions | None) -> Iterator[Document]:
    """Yield the frames for the parent, the last one with ``end``; `FrameAssembler` is the other
    side.
    """
    if options is None:
        yield {"end": True, "empty": True}
        return
    requirements = options.requirements
    yield {
        "targets": [[target.platform, target.python] for target in options.targets],
        "locks": len(options.locks),
    }
    where: dict[int, list[int]] = {}
    for number, target in enumerate(options.targets):
        for line in options.lines[target]:
            where.setdefault(id(line), []).append(number)
    yield from _batches(
        "wanted", ([*_spelled(line), where.get(id(line), [])] for line in requirements.wanted)
    )
    yield from _batches(
        "unparseable", ([remark.line, remark.reason] for remark in requirements.unparseable)
    )
    yield from _batches(
        "ignored", ([remark.line, remark.reason] for remark in requirements.ignored)
    )
    for number, lock in enumerate(options.locks):
        yield from _batches("pins", ([number, *pin] for pin in _pins(lock, options.targets)))
    yield {"end": True, "prereleases": requirements.prereleases}


def frames_of_dependencies(found: DependencyList | None) -> Iterator[Document]:
    """Yield the frames of a dependency list for the parent, the last one with ``end``;
    `DependencyAssembler` is the other side.
    """
    if found is None:
        yield {"end": True, "empty": True}
        return
    yield from _batches(
        "pins", ([pin.project, pin.version, dict(pin.hashes)] for pin in found.pins)
    )
    for name, remarks in (("unpinned", found.unpinned), ("unparseable", found.unparseable)):
        yield from _batches(name, ([remark.line, remark.reason] for remark in remarks))
    yield {"end": True}


def _spelled(line: RequirementLine) -> list[Any]:
    return [line.line, line.project, line.text, line.specifiers, line.marker, sorted(line.hashes)]


def _pins(lock: Lock, targets: Sequence[InstallTarget]) -> Iterator[list[Any]]:
    """Yield each pin of the lock once, with the numbers of the targets that it is for."""
    pins: dict[object, tuple[Pin, list[int]]] = {}
    for number, target in enumerate(targets):
        for pin in lock.pins_for(target):
            key = (pin.project, pin.version, frozenset(pin.hashes.items()))
            pins.setdefault(key, (pin, []))[1].append(number)
    for pin, numbers in pins.values():
        yield [pin.project, pin.version, dict(pin.hashes), numbers]


def _batches(name: str, items: Iterable[list[Any]]) -> Iterator[Document]:
    batch: list[list[Any]] = []
    size = 0
    for item in items:
        batch.append(item)
        size += _size(item)
        if size >= FRAME:
            yield {name: batch}
            batch, size = [], 0
    if batch:
        yield {name: batch}


def _size(item: object) -> int:
    if isinstance(item, str):
        return len(item) + 3
    if isinstance(item, Mapping):
        return sum(_size(key) + _size(value) for key, value in item.items())
    return sum(map(_size, item)) if isinstance(item, list | tuple) else 4


@define
class FrameAssembler:
    """The assembler of frames into a collection."""

    _targets: list[InstallTarget] = field(factory=list)
    _lines: dict[InstallTarget, list[RequirementLine]] = field(factory=dict)
    _wanted: list[RequirementLine] = field(factory=list)
    _remarks: dict[str, list[Remark]] = field(factory=lambda: {"unparseable": [], "ignored": []})
    _pins: list[dict[InstallTarget, list[Pin]]] = field(factory=list)

    def add(self, document: Document) -> None:
        """Add one frame. Raises `LookupError`, `TypeError` or `ValueError` for one that `frames_of`
        does not make.
        """
        for platform, python in document.get("targets", ()):
            self._targets.append(InstallTarget(platform, python))
        for _ in range(document.get("locks", 0)):
            self._pins.append({target: [] for target in self._targets})
        for line, project, text, specifiers, marker, hashes, where in document.get("wanted", ()):
            found = frozenset((name, value) for name, value in hashes)
            wanted = RequirementLine(line, project_name(project), text, specifiers, marker, found)
            self._wanted.append(wanted)
            for number in where:
                self._lines.setdefault(self._targets[number], []).append(wanted)
        for name, remarks in self._remarks.items():
            remarks += (Remark(line, reason) for line, reason in document.get(name, ()))
        for lock, project, version, hashes, where in document.get("pins", ()):
            pin = Pin(project_name(project), version, hashes)
            for number in where:
                self._pins[lock][self._targets[number]].append(pin)

    def finish(self, last: Document) -> CollectOptions | None:
        """Return the content of all frames, of which `last` is the last one."""
        if last.get("empty"):
            return None
        unparseable, ignored = (tuple(self._remarks[name]) for name in ("unparseable", "ignored"))
        requirements = Requirements(
            tuple(self._wanted), unparseable, ignored, bool(last["prereleases"])
        )
        locks = tuple(Lock(pins.__getitem__) for pins in self._pins)
        lines = {target: tuple(self._lines.get(target, ())) for target in self._targets}
        return CollectOptions(requirements, locks, tuple(self._targets), lines)


@define
class DependencyAssembler:
    """The assembler of frames into a dependency list."""

    _pins: list[Pin] = field(factory=list)
    _remarks: dict[str, list[Remark]] = field(factory=lambda: {"unpinned": [], "unparseable": []})

    def add(self, document: Document) -> None:
        """Add one frame. Raises as `FrameAssembler.add`."""
        for project, version, hashes in document.get("pins", ()):
            self._pins.append(Pin(project_name(project), version, hashes))
        for name, remarks in self._remarks.items():
            remarks += (Remark(line, reason) for line, reason in document.get(name, ()))

    def finish(self, last: Document) -> DependencyList | None:
        """Return the content of all frames, of which `last` is the last one."""
        if last.get("empty"):
            return None
        unpinned, unparseable = (tuple(self._remarks[name]) for name in ("unpinned", "unparseable"))
        return DependencyList(tuple(self._pins), unpinned, unparseable)
