"""Where the files of a test lie that must be files of a disk: the unit tests write to memory where
they can.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pypid.flow.bodies import at_hand


@contextmanager
def on_a_disk(wanted: Path) -> Iterator[Path]:
    """This folder, which may not be there yet; another one, not there either, where the kernel does
    not say of its files which bytes it has in memory, as of a tmpfs.
    """
    wanted.mkdir(exist_ok=True)
    (wanted / "probe").write_bytes(b"x")
    with open(wanted / "probe", "rb") as probe:
        said = at_hand(probe.fileno(), 0, 1)
    shutil.rmtree(wanted)  # the caller makes it
    if said:
        yield wanted
    else:
        with TemporaryDirectory(dir="/var/tmp") as folder:
            yield Path(folder) / "files"
