"""The metrics of several processes: each writes its own to a file, and the process that answers
combines all.

Below `folder`: ``<number>.json`` of each worker, and ``ended.json``, the lasting metrics of ended
ones. A reported number never decreases: a worker writes its numbers before it reports them, and
reading waits while those of an ended one are moved. All of it blocks; each change is one rename,
under a lock of the folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

import msgspec
from attrs import field, frozen

from pypid.metrics.counts import Counts, MetricsSample, is_whole, lasting, summed

ENDED = "ended"


class WrittenMetrics(msgspec.Struct, frozen=True):
    """The content of a file. `run` distinguishes a process from the next one of the same number;
    `moved`: the runs that are included already.
    """

    run: str
    pid: int
    taken: MetricsSample
    moved: dict[str, str] = {}


_EMPTY = WrittenMetrics("", 0, MetricsSample())


@frozen
class WorkerMetrics:
    """The metrics of one process: its number among the workers, its process id, its numbers.
    `number` "" is the sum of ended workers.
    """

    number: str
    pid: int
    taken: MetricsSample


@frozen
class MetricsFolder:
    """The folder where workers share their metrics. `run` is this process's: it differs at each
    start.
    """

    path: Path
    number: int
    run: str = field(factory=lambda: f"{os.getpid()}-{os.urandom(6).hex()}")

    def write(self, taken: MetricsSample) -> None:
        """Write the metrics of this process, in place of its older ones. Raises `OSError`."""
        with self._locked():
            self._put(taken)

    def exchange(self, taken: MetricsSample) -> list[WorkerMetrics]:
        """Write the metrics of this process, and return those of all. Raises `OSError`."""
        with self._locked():
            self._put(taken)
            found = [WorkerMetrics("", 0, self._read(ENDED).taken)]
            for file in sorted(self.path.glob("*.json")):
                if file.stem.isdigit():
                    written = self._read(file.stem)
                    found.append(WorkerMetrics(file.stem, written.pid, written.taken))
        return found

    def end(self, number: int) -> None:
        """Keep what lasts of an ended worker's metrics. Raises `OSError`."""
        with self._locked():
            self._move(str(number))

    def _put(self, taken: MetricsSample) -> None:
        mine = str(self.number)
        if self._read(mine).run not in (
            "",
            self.run,
        ):  # of the previous process of this number, whose end was not reported yet
            self._move(mine)
        self._replace(mine, WrittenMetrics(self.run, os.getpid(), taken))

    def _move(self, number: str) -> None:
        gone, ended = self._read(number), self._read(ENDED)
        if gone.run and ended.moved.get(number) != gone.run:
            moved = {**ended.moved, number: gone.run}
            self._replace(
                ENDED, WrittenMetrics(ENDED, 0, summed(ended.taken, lasting(gone.taken)), moved)
            )
        self._file(number).unlink(missing_ok=True)

    def _read(self, name: str) -> WrittenMetrics:
        try:
            written = msgspec.json.decode(self._file(name).read_bytes(), type=WrittenMetrics)
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
            return _EMPTY
        return (
            written if is_whole(written.taken) else _EMPTY
        )  # damaged files are ignored: these are only numbers

    def _replace(self, name: str, written: WrittenMetrics) -> None:
        part = self.path / f"{name}.new"
        part.write_bytes(msgspec.json.encode(written))
        part.replace(self._file(name))

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            flock(descriptor, LOCK_EX)
            yield
        finally:
            os.close(descriptor)


async def own_metrics(counts: Counts) -> tuple[str, Sequence[WorkerMetrics]]:
    """Return the metrics of the only worker."""
    return "1", [WorkerMetrics("1", os.getpid(), counts.taken())]
