"""Writing small files below the state folder: durable, atomic, mode 0600. All of it blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp


@contextmanager
def written_beside(path: Path, data: bytes) -> Iterator[Path]:
    """Yield a new file with this content in the folder of `path`; its name goes away at the end.

    The content is on the disk by then, and so is whatever name the caller gave to the file.
    """
    descriptor, name = mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
    try:
        fill(descriptor, data)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        sync_folder(path.parent)


def fill(descriptor: int, data: bytes) -> None:
    """Write the content of a file, and close it once it is on the disk."""
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in the folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
