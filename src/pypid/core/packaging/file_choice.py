"""Choosing the files of a release that fit, and the releases that a line allows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pypid.core.model import File, Project
from pypid.core.packaging.install_targets import InstallTarget
from pypid.core.packaging.lock_files import Pin
from pypid.core.packaging.names import version_key, version_of
from pypid.core.packaging.requirements import RequirementLine


def applicable(
    lines: Iterable[RequirementLine], targets: Sequence[InstallTarget]
) -> dict[InstallTarget, tuple[RequirementLine, ...]]:
    """Return the lines whose markers hold on each target."""
    from packaging.markers import Marker  # imported here: no page needs it

    environments = [{**target.environment, "extra": ""} for target in targets]
    found: dict[InstallTarget, list[RequirementLine]] = {target: [] for target in targets}
    for line in lines:
        marker = Marker(line.marker) if line.marker else None
        for target, environment in zip(targets, environments, strict=True):
            if marker is None or marker.evaluate(environment):
                found[target].append(line)
    return {target: tuple(each) for target, each in found.items()}


def by_release(files: Iterable[File]) -> dict[object, list[File]]:
    """Return the files of each release, by the `version_key` of its version."""
    found: dict[object, list[File]] = {}
    for file in files:
        found.setdefault(version_key(file.version), []).append(file)
    return found


def allowed(project: Project, line: RequirementLine) -> list[str]:
    """Return the releases that the line allows, the newest first."""
    versions = []
    for text in project.versions:
        try:
            versions.append(version_of(text))
        except ValueError:
            continue
    return [str(version) for version in sorted(line.specifier.filter(versions), reverse=True)]


def named(file: File, pin: Pin) -> bool:
    """Return whether the lock file names the file; True if it names none."""
    return not pin.hashes or file.filename in pin.hashes


def proven(file: File, lines: Sequence[RequirementLine]) -> bool:
    """Return whether the file has one of the hashes of each line that gives some."""
    return all(
        not line.hashes
        or any(digest(file, name) == f"{name}={value}" for name, value in line.hashes)
        for line in lines
    )


def digest(file: File, algorithm: str) -> str | None:
    """Return ``algorithm=hex`` of the file, or None if it is unknown."""
    known = {"sha256": file.sha256, "md5": file.md5}.get(algorithm)
    if known is not None:
        return f"{algorithm}={known}"
    return (
        file.digest if file.digest is not None and file.digest.startswith(f"{algorithm}=") else None
    )
