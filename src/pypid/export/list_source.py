"""A list of files as the source of an export."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec
from attrs import frozen
from twisted.internet.task import Clock

from pypid.core.errors import BadRequest
from pypid.core.model import File, Project, Summary, in_order
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy
from pypid.core.summaries import in_runs
from pypid.export.folder import FolderPlace
from pypid.export.one_pass import ExportOutcome, Progress, export
from pypid.export.options import ExportOptions
from pypid.export.package_list import PackageList, PackageListEntry, moment_of
from pypid.export.source import ExportSource, ExportView
from pypid.export.targets import Copy
from pypid.export.tree_state import Fingerprint, TreeBasis
from pypid.flow import World, at_once
from pypid.ports import Body

_encoder = msgspec.json.Encoder()


@frozen(eq=False)
class ListSource:
    """Shows all files of a list. It has no file itself: nothing can be copied or signed."""

    listed: PackageList
    world: World

    async def look(self) -> ExportView:
        names = sorted(self.listed.projects)
        return ExportView(in_runs([Summary(name, 0) for name in names]), serial=0)

    def basis(self, options: ExportOptions, look: ExportView) -> TreeBasis:
        return TreeBasis(options, Policy(), fetches=look.fetches, generation="list")

    async def serial(self) -> int:
        return 0

    def fingerprint(self, name: ProjectName) -> Fingerprint:
        entries = sorted(self.listed.projects[name].items())
        return (int.from_bytes(sha256(_encoder.encode(entries)).digest()[:7]), -1)

    async def project(self, name: ProjectName) -> tuple[Project, datetime | None] | None:
        files = self.listed.projects[name].values()
        shown = in_order(tuple(file_of(name, version, entry) for version, entry in files))
        return Project(name=name, files=shown), None

    async def metadata(self, project: Project, *, all: bool) -> tuple[dict[str, bytes], None]:
        return dict(self._described(project.name)), None

    def _described(self, name: ProjectName) -> Iterator[tuple[str, bytes]]:
        """Yield the requirements of each version as core metadata."""
        for version, entry in self.listed.projects[name].values():
            if entry.requires_dist:
                requires = (
                    f"Requires-Dist: {' '.join(one.split())}" for one in entry.requires_dist
                )
                head = ("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}")
                yield version, "\n".join((*head, *requires, "")).encode()

    async def url(self, file: File, lifetime: timedelta) -> str:
        raise BadRequest("The files of a list are in no bucket of pypid: no URL can be signed.")

    async def body(self, copy: Copy) -> Body:
        raise BadRequest("The files of a list cannot be copied.")


def file_of(project: ProjectName, version: str, entry: PackageListEntry) -> File:
    """Return the file as pages need it."""
    algorithm, value = _hash(entry.hash)
    declared = entry.core_metadata
    is_offered = bool(declared) and declared != "false"
    of_metadata = _hash(declared) if isinstance(declared, str) else ("", "")
    return File(
        project=project,
        filename=entry.filename,
        version=version,
        sha256=value if algorithm == "sha256" else None,
        md5=value if algorithm == "md5" else None,
        digest=None if algorithm in ("", "sha256", "md5") else f"{algorithm}={value}",
        size=entry.size,
        uploaded=None if entry.upload_timestamp is None else moment_of(entry.upload_timestamp),
        uploader=entry.uploaded_by,
        requires_python=entry.requires_python or None,
        # PEP 714 allows other hashes, too; a mere ``true`` stands for these
        metadata_sha256=of_metadata[1] if of_metadata[0] == "sha256" else None,
        metadata_offered=is_offered,
        yanked=entry.yanked_reason or None,
    )


def _hash(text: str | None) -> tuple[str, str]:
    algorithm, _, value = (text or "").lower().partition("=")
    return algorithm, value


def export_list(
    listed: PackageList,
    folder: str,
    options: ExportOptions,
    now: datetime,
    *,
    clears: bool,
    verifies: bool,
    on_progress: Progress,
) -> ExportOutcome:
    """Write the pages of a list into a folder, without a reactor; else as `export`. Raises
    `OSError`.
    """
    world = World(Clock(), lambda: now, at_once, os.urandom, at_once)
    place = FolderPlace(folder, world, compressed=False)

    async def write() -> ExportOutcome:
        source = ListSource(listed, world)
        try:
            return await export(
                source,
                place,
                options,
                "list",
                clears=clears,
                verifies=verifies,
                on_progress=on_progress,
            )
        finally:
            await place.close()

    try:
        write().send(None)
    except StopIteration as ended:
        outcome: ExportOutcome = ended.value
        return outcome
    raise AssertionError("this world never waits")


_: type[ExportSource] = ListSource
