"""The pages of a project: the Simple API's by `core.simple_api.render`, and the legacy JSON API's
with the keys of dumb-pypi.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
from attrs import frozen
from msgspec import UNSET, UnsetType

from pypid.core.model import File, Project, Summary, in_order
from pypid.core.packaging.names import ProjectName, version_key
from pypid.core.simple_api.entries import utc_text
from pypid.core.simple_api.negotiation import Format
from pypid.core.simple_api.render import render_names, render_project
from pypid.static.package_list import PackageListEntry, moment_of
from pypid.static.page_names import PagePlace, places
from pypid.static.settings import StaticSettings
from pypid.static.tree import JSON_PAGE, PAGE, WrittenPage

FORMATS = ((JSON_PAGE, Format.JSON), (PAGE, Format.TEXT_HTML))
"""Page names and formats; the page that most installers read comes last."""
_OURS = re.compile(r"simple/[a-z0-9-]+/index\.(html|json)|pypi/[a-z0-9-]+/([^/]+/)?json").fullmatch


@frozen
class PlacedFile:
    """A file on a project's page; `first`: it has no other place, or this is the one that dumb-pypi
    knows.
    """

    listed: PackageListEntry
    place: PagePlace
    first: bool


def placed_files(project: ProjectName, listed: Iterable[PackageListEntry]) -> list[PlacedFile]:
    """Return the files of a project's page in dumb-pypi's order: the newest is last."""
    found = [
        PlacedFile(one, place, number == 0)
        for one in listed
        for number, place in enumerate(places(one.filename))
        if place.project == project
    ]
    if len(found) < 2:
        return found
    versions: dict[
        str, list[PlacedFile]
    ] = {}  # many files have few versions, which are slow to compare
    for one in found:
        versions.setdefault(one.place.version, []).append(one)
    keyed = sorted(
        [(version_key(version) if version else _NO_VERSION, version) for version in versions]
    )
    ordered: list[PlacedFile] = []
    for _, same in groupby(keyed, key=itemgetter(0)):
        files = [one for _, version in same for one in versions[version]]
        ordered += sorted(files, key=_order) if len(files) > 1 else files
    return ordered


_NO_VERSION = version_key("0")
_DIGITS = re.compile("([0-9]+)")


def _order(one: PlacedFile) -> tuple[Any, ...]:
    filename = one.listed.filename
    natural = [int(part) if part.isdigit() else part for part in _DIGITS.split(filename)]
    return (not filename.endswith(".whl"), natural, filename)


def is_project_page(path: str) -> bool:
    """Return whether `project_pages` may put a page at this path."""
    return _OURS(path) is not None


def project_paths(
    project: ProjectName, files: Iterable[PackageListEntry], settings: StaticSettings
) -> Iterator[str]:
    """Yield the paths of `project_pages`."""
    yield f"simple/{project}/{PAGE}"
    yield f"simple/{project}/{JSON_PAGE}"
    yield f"pypi/{project}/json"
    if settings.per_release_json:
        spelled = {
            place.spelled
            for listed in files
            for place in places(listed.filename)
            if place.project == project
        }
        yield from (f"pypi/{project}/{version}/json" for version in spelled if version)


def project_pages(
    project: ProjectName, files: Iterable[PackageListEntry], settings: StaticSettings
) -> Iterator[WrittenPage]:
    """Yield each page of the project: path and bytes. The one that installers read comes last."""
    found = placed_files(project, files)
    yield from _legacy_pages(project, found, settings)
    value = Project(name=project, files=in_order(tuple(map(file_of, found))))
    for name, format in FORMATS:
        page = render_project(value, format, files_url=settings.files_url, flat=True)
        yield WrittenPage(f"simple/{project}/{name}", page.body)


def list_pages(
    summaries: Sequence[Summary], serial: int | None = None, page: str = ""
) -> Iterator[WrittenPage]:
    """Yield the pages of the project list. `page`: the page that links name, for a tree that is
    opened without a web server.
    """
    for name, format in FORMATS:
        body = render_names(summaries, format, serial=serial, page=page).body
        yield WrittenPage(f"simple/{name}", body)


def file_of(one: PlacedFile) -> File:
    """Return the file as the renderer needs it."""
    listed, place = one.listed, one.place
    algorithm, value = _hash(listed.hash)
    offered, sha256 = _metadata(listed.core_metadata)
    return File(
        project=place.project,
        filename=listed.filename,
        version=place.version,
        sha256=value if algorithm == "sha256" else None,
        md5=value if algorithm == "md5" else None,
        digest=None if algorithm in ("", "sha256", "md5") else f"{algorithm}={value}",
        size=listed.size,
        uploaded=None if listed.upload_timestamp is None else moment_of(listed.upload_timestamp),
        requires_python=listed.requires_python or None,
        metadata_sha256=sha256,
        metadata_offered=offered,
        yanked=listed.yanked_reason or None,
    )


def _hash(text: str | None) -> tuple[str, str]:
    algorithm, _, value = (text or "").lower().partition("=")
    return algorithm, value


def _metadata(declared: str | bool | None) -> tuple[bool, str | None]:
    """Return whether core metadata is offered, and its sha256 (PEP 714 allows other hashes, too; a
    mere ``true`` stands for these).
    """
    if not declared or declared == "false":
        return False, None
    algorithm, value = _hash("" if declared is True else declared)
    return True, value if algorithm == "sha256" else None


# The legacy JSON API, as dumb-pypi writes it, with null for what dumb-pypi does not know.


class _Info(msgspec.Struct, gc=False):
    name: str
    version: str | None
    requires_dist: list[str] | None
    requires_python: str | None
    yanked: bool
    yanked_reason: str | None
    platform: str = "UNKNOWN"
    summary: None = None


class _Entry(msgspec.Struct, gc=False):
    filename: str
    url: str
    requires_python: str | None
    packagetype: str
    yanked: bool
    yanked_reason: str | None
    upload_time: str | UnsetType = UNSET
    upload_time_iso_8601: str | UnsetType = UNSET
    digests: dict[str, str] | UnsetType = UNSET
    size: int | UnsetType = UNSET


class _Document(msgspec.Struct, gc=False):
    info: _Info
    releases: Mapping[str, Sequence[msgspec.Raw]]
    urls: Sequence[msgspec.Raw]


_encoder = msgspec.json.Encoder()
_ANSWERED = attrgetter("requires_dist", "requires_python")


def _legacy_pages(
    project: ProjectName, found: Sequence[PlacedFile], settings: StaticSettings
) -> Iterator[WrittenPage]:
    releases: dict[str, list[PackageListEntry]] = {}
    for one in found:
        if one.place.spelled is not None:
            releases.setdefault(one.place.spelled, []).append(one.listed)
    raw = {
        version: [_raw(listed, settings) for listed in files] for version, files in releases.items()
    }
    if settings.per_release_json:
        for version, files in releases.items():
            document = _Document(
                _info(project, version, files), {version: raw[version]}, raw[version]
            )
            yield WrittenPage(f"pypi/{project}/{version}/json", _encoder.encode(document))
    newest = found[-1]
    version_of_all = newest.place.spelled
    telling = [newest.listed] if version_of_all is None else releases[version_of_all]
    urls = () if version_of_all is None else raw[version_of_all]
    yield WrittenPage(
        f"pypi/{project}/json",
        _encoder.encode(_Document(_info(project, version_of_all, telling), raw, urls)),
    )


def _info(project: ProjectName, version: str | None, files: Sequence[PackageListEntry]) -> _Info:
    """Return the info of a release, from the file that has the most metadata."""
    best = (
        max(files, key=lambda listed: sum(map(bool, _ANSWERED(listed))))
        if len(files) > 1
        else files[0]
    )
    return _Info(
        project,
        version,
        best.requires_dist,
        best.requires_python,
        bool(best.yanked_reason),
        best.yanked_reason,
    )


def _raw(listed: PackageListEntry, settings: StaticSettings) -> msgspec.Raw:
    stamp = listed.upload_timestamp
    uploaded = UNSET if stamp is None else utc_text(moment_of(stamp))
    entry = _Entry(
        filename=listed.filename,
        url=settings.url(listed.filename),
        requires_python=listed.requires_python,
        packagetype=_packagetype(listed.filename),
        yanked=bool(listed.yanked_reason),
        yanked_reason=listed.yanked_reason,
        upload_time=UNSET if uploaded is UNSET else uploaded[:19].replace("T", " "),
        upload_time_iso_8601=uploaded,
        digests=dict((_hash(listed.hash),)) if listed.hash else UNSET,
        size=UNSET if listed.size is None else listed.size,
    )
    return msgspec.Raw(_encoder.encode(entry))


def _packagetype(filename: str) -> str:
    if filename.endswith(".whl"):
        return "bdist_wheel"
    return "bdist_egg" if filename.endswith(".egg") else "sdist"


def latest(found: Sequence[PlacedFile]) -> str | None:
    """Return the newest version of files in the order of `placed_files`, as its file name spells
    it.
    """
    return found[-1].place.spelled
