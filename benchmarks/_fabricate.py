"""A storage as if a million files had been published to it, and the snapshot of it, made by several
processes at once.

The records are real, the artifacts are sparse; there is no core metadata beside them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path

from pypid.blobs.files import blob
from pypid.catalog.dump import CatalogDump
from pypid.catalog.lines import Loaded, no_shards, shard_of
from pypid.catalog.memory import MemoryCatalog
from pypid.core.model import Blob, File, Project, StoredFile, Summary, in_order
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.documents import StorageIdentity, dump_project, dump_record, load
from pypid.core.records.layout import STORAGE_IDENTITY, ObjectKind, key
from pypid.core.summaries import MutableSummaries
from pypid.flow import World, at_once, start
from pypid.index.store.records import mark_of

FILES = 10
"""Of each project."""
SIZE = 100_000
"""Bytes of each, none of which are written."""
BATCH = 500
"""Projects that a process makes in one go."""
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)


def fabricate(folder: Path, projects: int, files: int = FILES, large: int = 0) -> None:
    """So many projects in the storage below `folder`, which a pypid has opened before; and a
    snapshot that knows them.

    Each has so many files; the one after the last has `large`, if any.
    """
    storage = folder / "var" / "packages"
    batches = [
        (range(first, min(first + BATCH, projects)), files) for first in range(0, projects, BATCH)
    ]
    batches += [(range(projects, projects + 1), large)] if large else []
    shards, heads = no_shards(), dict[ProjectName, Summary]()
    anywhere = partial(os.sched_setaffinity, 0, range(os.cpu_count() or 1))
    with ProcessPoolExecutor(initializer=anywhere) as pool:
        for made in pool.map(partial(_batch, os.fsencode(storage)), batches):
            for serial, (text, line) in enumerate(made, len(heads) + 1):
                name = ProjectName(text)
                shards[shard_of(name)][name] = line
                heads[name] = Summary(name, serial)
    identity = load(
        StorageIdentity, (storage / STORAGE_IDENTITY).read_bytes(), STORAGE_IDENTITY
    ).identity
    catalog = MemoryCatalog()
    catalog.local.fill(Loaded(len(heads), shards, MutableSummaries(heads)))
    world = World(clock=None, now=lambda: MOMENT, blocking=at_once, random=os.urandom)  # type: ignore[arg-type]
    start(CatalogDump(catalog.local, str(folder / "var" / "snapshot"), identity, world).write())


def _batch(storage: bytes, batch: tuple[Sequence[int], int]) -> list[tuple[str, bytes]]:
    numbers, files = batch
    return [_project(storage, number, files) for number in numbers]


def _project(storage: bytes, number: int, many: int) -> tuple[str, bytes]:
    """The project's name and its line, when its files are there."""
    name = project_name(f"project-{number}")
    Path(os.fsdecode(storage), name).mkdir(0o750)
    files = in_order(tuple(made_up(name, number, count) for count in range(many)))
    listing = sorted(
        (blob for file in files for blob in _written(storage, file)),
        key=lambda blob: blob.key.encode(),
    )
    return name, dump_project(Project(name=name, files=files, serial=number + 1), mark_of(listing))


def made_up(name: ProjectName, number: int, count: int) -> StoredFile:
    """A file like those of real projects: a wheel and an sdist of each version."""
    version = f"1.{count // 2}.0"
    filename = f"project_{number}-{version}" + ("-py3-none-any.whl" if count % 2 else ".tar.gz")
    digest = sha256(filename.encode()).hexdigest()
    return StoredFile(
        project=name,
        filename=filename,
        version=version,
        sha256=digest,
        size=SIZE,
        uploaded=MOMENT + timedelta(seconds=number, microseconds=count),
        requires_python=">=3.9",
        key=key(name, filename),
        md5=digest[:32],
        blake2b_256=digest[::-1],
        uploader="ci",
        summary="A project that the benchmark made up",
    )


def _written(storage: bytes, file: File) -> Iterator[Blob]:
    for where, content in (
        (key(file.project, file.filename), b""),
        (key(file.project, file.filename, ObjectKind.RECORD), dump_record(file)),
    ):
        descriptor = os.open(
            b"/".join((storage, where.encode())), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640
        )
        try:
            if content:
                os.write(descriptor, content)
            else:
                os.truncate(descriptor, SIZE)
            yield blob(where, os.fstat(descriptor))
        finally:
            os.close(descriptor)
