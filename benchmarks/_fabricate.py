"""A storage as if a million files had been published to it, and the catalog of it, made by several
processes at once.

The records are real, the artifacts are sparse; there is no core metadata beside them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from attrs import frozen
from sqlalchemy import Connection, insert, select, update

from pypid.blobs.files import blob
from pypid.core.model import Blob, Project, StoredFile, in_order
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.documents import dump, dump_project, dump_record
from pypid.core.records.layout import CLEAN_STOP, ObjectKind, key
from pypid.database.catalog import FILE
from pypid.database.catalog_drivers import PRAGMAS
from pypid.database.catalog_tables import rows, state_table
from pypid.database.connections import BUSY, sqlite_engine
from pypid.database.engine import RowKind
from pypid.database.places import transact
from pypid.index.store.records import mark_of
from pypid.jobs.cache_maintenance import CleanStopNote

Batch = TypeVar("Batch")

FILES = 10
"""Of each project."""
SIZE = 100_000
"""Bytes of each, none of which are written."""
BATCH = 500
"""Projects that a process makes in one go."""
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)


@frozen
class Fabricated:
    """A project whose objects are in the storage, as the catalog knows it."""

    name: str
    line: bytes
    mark: str


def fabricate(folder: Path, projects: int, files: int = FILES, large: int = 0) -> None:
    """So many projects in the storage and the catalog below `folder` (see `fill`).

    Each has so many files; the one after the last has `large`, if any.
    """
    batches = [
        (range(first, min(first + BATCH, projects)), files) for first in range(0, projects, BATCH)
    ]
    batches += [(range(projects, projects + 1), large)] if large else []
    fill(folder, _batch, batches)


def fill(
    folder: Path,
    make: Callable[[bytes, Batch], Sequence[Fabricated]],
    batches: Iterable[Batch],
) -> None:
    """Add to the storage and the catalog below `folder`, which a pypid has opened and stopped using,
    what `make` makes in the storage of each batch; the next start trusts the catalog.
    """
    storage = folder / "var" / "packages"
    database = sqlite_engine(folder / "var" / FILE, BUSY, PRAGMAS)
    anywhere = partial(os.sched_setaffinity, 0, range(os.cpu_count() or 1))
    with ProcessPoolExecutor(initializer=anywhere) as pool, database.connect() as connection:
        made = pool.map(partial(make, os.fsencode(storage)), batches)
        note = transact(connection, lambda connection: _add(connection, made), writing=True)
    database.dispose()
    (storage / CLEAN_STOP).write_bytes(dump(note))


def _add(connection: Connection, made: Iterable[Sequence[Fabricated]]) -> CleanStopNote:
    """Add the rows, each with the next version and serial; return the state of the catalog then."""
    state = connection.execute(select(state_table)).one()
    version, serial = state.version, state.serial
    for batch in made:
        values = [
            {
                "kind": RowKind.LOCAL.value,
                "name": project.name,
                "version": version + number,
                "serial": serial + number,
                "status": "active",
                "kept": False,
                "gone": False,
                "mark": project.mark,
                "size": len(project.line),
                "line": project.line,
                "files": b"",
            }
            for number, project in enumerate(batch, 1)
        ]
        connection.execute(insert(rows), values)
        version, serial = version + len(batch), serial + len(batch)
    connection.execute(update(state_table).values(version=version, serial=serial, complete=True))
    return CleanStopNote(state.epoch, version)


def _batch(storage: bytes, batch: tuple[Sequence[int], int]) -> list[Fabricated]:
    numbers, many = batch
    return [_project(storage, number, many) for number in numbers]


def _project(storage: bytes, number: int, many: int) -> Fabricated:
    name = project_name(f"project-{number}")
    files = in_order(tuple(made_up(name, number, count) for count in range(many)))
    return put(storage, Project(name=name, files=files), {})


def put(storage: bytes, project: Project[StoredFile], metadata: Mapping[str, bytes]) -> Fabricated:
    """Put the files of a new project into the storage, with their records, and with the `metadata`
    by key.
    """
    Path(os.fsdecode(storage), project.name).mkdir(0o750)
    contents = {key(project.name, file.filename): b"" for file in project.files}
    for file in project.files:
        contents[key(project.name, file.filename, ObjectKind.RECORD)] = dump_record(file)
    contents.update(metadata)
    listing = [_written(storage, where, contents[where]) for where in sorted(contents)]
    return Fabricated(project.name, dump_project(project), mark_of(listing))


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


def _written(storage: bytes, where: str, content: bytes) -> Blob:
    """Write the object; an empty one is an artifact, of which nothing but the size is real."""
    path = b"/".join((storage, where.encode()))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        if content:
            os.write(descriptor, content)
        else:
            os.truncate(descriptor, SIZE)
        return blob(where, os.fstat(descriptor))
    finally:
        os.close(descriptor)
