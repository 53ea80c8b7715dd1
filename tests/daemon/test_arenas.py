"""The memory of threads."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

PROGRAM = """
import re, sys, threading
from pathlib import Path
from pypid.daemon.daemon import use_one_arena
if sys.argv[1] == "one":
    use_one_arena()
barrier = threading.Barrier(4)
def work():
    held = [bytearray(1000) for _ in range(10000)]
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
for each in threads: each.start()
for each in threads: each.join()
regions = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) ---p", Path("/proc/self/maps").read_text(), re.M)
print(sum(50 << 20 < int(end, 16) - int(start, 16) < 64 << 20 for start, end in regions))
"""
"""Counts the address space that arenas reserve: what is left of 64 MiB each."""


class ArenaTests(SynchronousTestCase):
    def count(self, how: str) -> int:
        """Return the number of arenas of threads in a process of its own."""
        return int(subprocess.check_output([sys.executable, "-c", PROGRAM, how]))

    def test_threads_share_one_arena(self) -> None:
        """Without that, each thread keeps memory of its own."""
        self.assertGreater(self.count("many"), 0)
        self.assertEqual(self.count("one"), 0)
