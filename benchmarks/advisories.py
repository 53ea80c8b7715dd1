"""What advisories cost: reading a source of 60,000 records, their memory, and queries.

``python benchmarks/advisories.py [--records 60000]``

The archive has records of the usual kinds: reports of malware (short), and vulnerabilities with
ranges and lists of versions. A reactor in this process ticks each 2 ms while the records are loaded
and put into force; the longest gap is the stall. Memory is what this process has more after that.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from twisted.internet import reactor, task
from twisted.python.failure import Failure

from pypid.advisories.database import FILE, AdvisoryDatabase
from pypid.advisories.refresh import AdvisoryLoader, AdvisoryRefresh, AdvisorySources
from pypid.advisories.service import Advisories
from pypid.advisories.sources import LocalSource
from pypid.core.configuration.choices import BlockedAdvisories
from pypid.core.packaging.names import ProjectName
from pypid.daemon.daemon import SWITCH
from pypid.flow import start
from pypid.wiring.platform import the_world

PACKAGES = 300
"""Packages of one environment that are looked up."""
TEXT = "An attacker can send a request that is not checked, and read or change data. " * 18
TICK = 0.002


def records(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ids and records: six of ten are malware, two have ranges, two have versions as well."""
    vector = {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}
    for number in range(count):
        kind = number % 10
        id = f"{'MAL' if kind < 6 else 'GHSA' if kind < 8 else 'PYSEC'}-2026-{number}"
        name = f"package-{number}" if kind < 6 else f"project-{number // 10 % 4000}"
        affected: dict[str, Any] = {"package": {"ecosystem": "PyPI", "name": name}}
        if kind < 6:
            affected["versions"] = ["1.0.0", "1.0.1"]
        else:
            events = [{"introduced": "0"}, {"fixed": f"{number % 7 + 1}.{number % 13}.2"}]
            affected["ranges"] = [{"type": "ECOSYSTEM", "events": events}]
        if kind >= 8:
            affected["versions"] = [f"{major}.{minor}" for major in range(5) for minor in range(12)]
        yield (
            id,
            {
                "schema_version": "1.7.0",
                "id": id,
                "modified": "2026-07-01T10:00:00Z",
                "published": "2026-06-30T10:00:00Z",
                "aliases": [f"CVE-2026-{number}"],
                "summary": f"Malicious code in {name} (PyPI)" if kind < 6 else TEXT[:80],
                "details": TEXT,
                "severity": [] if kind < 6 else [vector],
                "affected": [affected],
                "references": [
                    {"type": "WEB", "url": f"https://example.com/{number}/{n}"} for n in range(6)
                ],
            },
        )


def write(path: Path, count: int) -> None:
    """Write the archive."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for id, record in records(count):
            archive.writestr(f"{id}.json", json.dumps(record))


def resident() -> float:
    """Return the memory of this process in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def waited() -> float:
    """Return the seconds that all threads of this process have waited for a processor."""
    total = 0
    for each in Path("/proc/self/task").iterdir():
        with suppress(OSError, IndexError):  # it has ended
            total += int((each / "schedstat").read_text().split()[1])
    return total / 1e9


class Ticks:
    """Measures the longest gap between two ticks of the reactor, without the time that threads
    waited for a processor, which other programs use.
    """

    def __init__(self) -> None:
        self.longest, self._last, self._waited = 0.0, 0.0, 0.0
        self._loop = task.LoopingCall(self._tick)

    def begin(self) -> None:
        """Measure from now on."""
        self.longest, self._last, self._waited = 0.0, time.perf_counter(), waited()
        self._loop.start(TICK)

    def end(self) -> float:
        """Return the longest gap in milliseconds."""
        self._loop.stop()
        return self.longest * 1000

    def _tick(self) -> None:
        now, delay = time.perf_counter(), waited()
        self.longest = max(self.longest, now - self._last - TICK - (delay - self._waited))
        self._last, self._waited = time.perf_counter(), delay


async def measure(folder: Path, count: int) -> None:
    """Load, read again in a second process's place, and query."""
    world = the_world(reactor)
    source = LocalSource(folder / "all.zip", folder, world)
    advisories = Advisories(world, folder, block=(BlockedAdvisories.MALWARE,))
    loader = AdvisoryLoader(AdvisoryDatabase(folder / FILE))
    refresh = AdvisoryRefresh(advisories, AdvisorySources(source, None, "1"), loader)
    ticks, before = Ticks(), resident()
    gc.freeze()  # as the daemon does after its start
    sys.setswitchinterval(SWITCH)
    ticks.begin()
    await task.deferLater(reactor, 2.0)
    print(f"stall of an idle reactor, for comparison: {ticks.end():.1f} ms")
    cpu = os.times()
    ticks.begin()
    began = time.perf_counter()
    assert await refresh.refresh(), advisories.failure
    took, stall = time.perf_counter() - began, ticks.end()
    used = os.times()
    print(f"{count} records, archive of {(folder / 'all.zip').stat().st_size >> 20} MiB")
    own = used.user + used.system - cpu.user - cpu.system
    child = used.children_user + used.children_system - cpu.children_user - cpu.children_system
    print(
        f"load {took:.2f} s (CPU: parser {child:.2f} s, this process {own:.2f} s), "
        f"stall {stall:.1f} ms, memory +{resident() - before:.1f} MiB, "
        f"parser up to {getrusage(RUSAGE_CHILDREN).ru_maxrss >> 10} MiB"
    )
    other = Advisories(world, folder, block=(BlockedAdvisories.MALWARE,))
    ticks.begin()
    began = time.process_time()
    await other.read()
    read, stall = time.process_time() - began, ticks.end()
    print(f"another process reads it in {read:.2f} s of CPU, stall {stall:.1f} ms")
    queries(other, count)


def queries(advisories: Advisories, count: int) -> None:
    """Look up the packages of an environment, and names without advisories."""
    names = [ProjectName(f"project-{number}") for number in range(PACKAGES)]
    for turn in ("first", "second"):
        began = time.process_time()
        hits = sum(len(advisories.hits(name, "2.3.1")) for name in names)
        took = (time.process_time() - began) * 1e3
        print(f"{PACKAGES} packages, {turn} time: {took:.1f} ms, {hits} hits")
    restrictions = advisories.restrictions.current
    began, times = time.process_time(), 100_000
    for _ in range(times):
        restrictions.of(ProjectName("harmless"))
    took = (time.process_time() - began) / times * 1e9
    print(f"a project without advisories: {took:.0f} ns a view")
    assert advisories.count == count


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=60_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "all.zip", options.records)

        def run() -> None:
            done = start(measure(folder, options.records))
            done.addErrback(Failure.printTraceback)
            done.addBoth(lambda _: reactor.stop())

        reactor.callWhenRunning(run)
        reactor.run()


if __name__ == "__main__":
    main()
