"""Which file of a release will do, and which release a line means. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pypid.core.locks import Pin
from pypid.core.model import File, Project
from pypid.core.names import same_version, version_of
from pypid.core.requirements import Wanted
from pypid.core.targets import Target


def applies(line: Wanted, target: Target) -> bool:
    """Whether the line's marker holds there."""
    marker = line.requirement.marker
    return marker is None or marker.evaluate({**target.environment, "extra": ""})


def release(files: Iterable[File], version: str) -> list[File]:
    """The files of one release."""
    return [file for file in files if same_version(file.version, version)]


def allowed(project: Project, line: Wanted) -> list[str]:
    """The releases that the line allows, the newest first."""
    versions = []
    for text in project.versions:
        try:
            versions.append(version_of(text))
        except ValueError:
            continue
    return [str(version) for version in sorted(line.requirement.specifier.filter(versions), reverse=True)]


def named(file: File, pin: Pin) -> bool:
    """Whether the lock names the file, if it names any."""
    return not pin.hashes or file.filename in pin.hashes


def proven(file: File, lines: Sequence[Wanted]) -> bool:
    """Whether the file has one of the hashes of each line that gives some."""
    return all(not line.hashes or any(digest(file, name) == f"{name}={value}" for name, value in line.hashes) for line in lines)


def digest(file: File, algorithm: str) -> str | None:
    """``algorithm=hex`` of the file, if it is known."""
    known = {"sha256": file.sha256, "md5": file.md5}.get(algorithm)
    if known is not None:
        return f"{algorithm}={known}"
    return file.digest if file.digest is not None and file.digest.startswith(f"{algorithm}=") else None
