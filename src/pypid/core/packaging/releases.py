"""Releases: the files of a project, grouped by version.

PEP 440 says when two spellings are one version (``1.0`` and ``1.0.0``): their files are one
release, under the spelling of the file that was uploaded first, so that the release keeps its name
when a file is added to it.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from itertools import groupby
from typing import BinaryIO

from attrs import frozen
from packaging.version import Version

from pypid.core.model import Digests, File, Files, Project, StoredFile
from pypid.core.packaging.names import LONGEST_FILENAME, is_prerelease, same_version, version_key

_NEVER = datetime.max.replace(tzinfo=UTC)


@frozen
class Release:
    """The files of one version; at least one, `in_order`."""

    version: str
    files: tuple[File, ...]

    @property
    def is_yanked(self) -> bool:
        """Whether every file is yanked."""
        return all(file.yanked is not None for file in self.files)

    @property
    def yanked_reason(self) -> str | None:
        """The first reason that a yanked file of the release gives. None: the release is not
        yanked, or no file has a reason.
        """
        return (
            next((file.yanked for file in self.files if file.yanked), None)
            if self.is_yanked
            else None
        )


def releases(project: Project) -> tuple[Release, ...]:
    """Return the releases of the project, oldest version first."""
    global _last
    last, found = _last
    if last is not project:
        found = _releases(project)
        _last = project, found
    return found


SEVERAL = 8
"""Releases with several spellings from which on decoding all files at once is faster."""


def release_versions(project: Project) -> list[str]:
    """Return the versions of `releases`, without decoding `Files`, except those of releases that
    are spelled differently.
    """
    if not isinstance(project.files, Files):
        return [release.version for release in releases(project)]
    runs = project.files.runs
    # neighbours, since runs are in order; equal versions differ in the number of their zeros
    short = [version.replace(".0", "") for version, _ in runs]
    if not any(map(str.__eq__, short, short[1:])):
        return [version for version, _ in runs]
    keys = [version_key(version) for version, _ in runs]
    groups = [
        [run for _, run in group]
        for _, group in groupby(zip(keys, runs, strict=True), lambda pair: pair[0])
    ]
    if sum(len(group) > 1 for group in groups) > SEVERAL:
        return [release.version for release in _releases(project)]
    versions: list[str] = []
    start = 0
    for group in groups:
        stop = start + sum(count for _, count in group)
        versions.append(
            group[0][0] if len(group) == 1 else _spelling(list(project.files[start:stop]))
        )
        start = stop
    return versions


_last: tuple[Project | None, tuple[Release, ...]] = (None, ())
"""The latest result: rendering a project asks for its releases ten times."""


def _releases(project: Project) -> tuple[Release, ...]:
    groups: list[list[File]] = []
    for file in project.files:
        # files are sorted by version, so those of one release are consecutive
        if groups and (
            groups[-1][0].version == file.version
            or same_version(groups[-1][0].version, file.version)
        ):
            groups[-1].append(file)
        else:
            groups.append([file])
    return tuple(Release(_spelling(files), tuple(files)) for files in groups)


def _spelling(files: list[File]) -> str:
    if all(file.version == files[0].version for file in files):
        return files[0].version
    return min(files, key=lambda file: file.uploaded or _NEVER).version


def choose_release(project: Project, version: str | None = None) -> str | None:
    """Return the version of the requested release, as the project spells it; None if there is no
    such release.

    `version` is any spelling, straight from a URL. Without one it is the newest: among those not
    yanked, final ones before pre-releases; a yanked one only if there is nothing else (as the
    public index chooses).
    """
    candidates = releases(project)
    if version is None:
        newest = max(candidates, key=_preference, default=None)
        return None if newest is None else newest.version
    wanted = requested_key(version)
    return next(
        (r.version for r in candidates if version == r.version or version_key(r.version) == wanted),
        None,
    )


def _preference(release: Release) -> tuple[bool, bool, object]:
    return (not release.is_yanked, not is_prerelease(release.version), version_key(release.version))


def requested_key(version: str) -> tuple[int, Version] | None:
    """Return `version_key` of text from a URL, without caching it, or None if it is invalid."""
    if len(version) > LONGEST_FILENAME:
        return None
    try:
        return (1, Version(version))
    except ValueError:
        return None


def release_of(project: Project, version: str) -> Release | None:
    """Return the release of this version, in any spelling; or None."""
    chosen = choose_release(project, version)
    return next((release for release in releases(project) if release.version == chosen), None)


def describing_file(project: Project, version: str) -> File | None:
    """Return the file whose stored core metadata describes the release: a wheel's if there is one.

    None if there is no such release, or none of its files has metadata stored.
    """
    release = release_of(project, version)
    described = [file for file in release.files if file.metadata_sha256] if release else []
    return min(described, key=lambda file: not file.filename.endswith(".whl"), default=None)


# Comparing bytes with the hashes that upstream listed.

BLAKE2B_256 = "blake2b_256"
"""BLAKE2b with 32 bytes, for which hashlib has no name."""
_ENDLESS = ("shake_128", "shake_256")


@frozen
class ExpectedDigest:
    """Upstream's strongest hash: hashlib's name of it (or `BLAKE2B_256`), and lower-case hex."""

    algorithm: str
    hexdigest: str


def claim_of(file: File) -> ExpectedDigest | None:
    """Return the expected hash of the file's bytes; None without one that is computable here."""
    if file.sha256 is not None:
        return ExpectedDigest("sha256", file.sha256)
    algorithm, _, hexdigest = (file.digest or "").partition("=")
    if hexdigest and algorithm in hashlib.algorithms_guaranteed and algorithm not in _ENDLESS:
        return ExpectedDigest(algorithm, hexdigest)
    if file.blake2b_256 is not None:
        return ExpectedDigest(BLAKE2B_256, file.blake2b_256)
    return None if file.md5 is None else ExpectedDigest("md5", file.md5)


def computed(digests: Digests, algorithm: str) -> str | None:
    """Return the hash of this name, if it is among those computed for every body."""
    known = {"sha256": digests.sha256, "md5": digests.md5, BLAKE2B_256: digests.blake2b_256}
    return known.get(algorithm)


def is_copy(kept: StoredFile, file: File) -> bool:
    """Return whether the cached file has the bytes that `file` is listed with."""
    claim = claim_of(file)
    if file.size not in (None, kept.size):
        return False
    if claim is None:
        return True
    known = Digests(
        sha256=kept.sha256, md5=kept.md5 or "", blake2b_256=kept.blake2b_256 or "", size=0
    )
    ours = computed(known, claim.algorithm)
    return kept.digest == file.digest if ours is None else ours == claim.hexdigest


def hash_of(file: BinaryIO, algorithm: str) -> str:
    """Return the hash of an open file, from its beginning, as lower-case hex. Blocks."""
    file.seek(0)
    # a BinaryIO is what it reads
    return hashlib.file_digest(file, algorithm).hexdigest()  # type: ignore[arg-type]
