"""The legacy JSON API: ``/pypi/<project>/json`` and ``/pypi/<project>/<version>/json``.

Read by pdm (``pypi.json_api``), bandersnatch and renovate. There is no specification: the keys, and
null for unknown values, are those of the public index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pypid.core.errors import BadFilename
from pypid.core.model import File, Project, RenderedPage
from pypid.core.packaging.core_metadata import CoreMetadata, read_metadata
from pypid.core.packaging.names import ALL_SDIST_SUFFIXES, Packagetype, parse_filename, wheel_tags
from pypid.core.packaging.releases import Release, choose_release, release_of, releases
from pypid.core.simple_api.listed_files import quoted, utc_text
from pypid.core.simple_api.render import finished

if TYPE_CHECKING:
    from pypid.core.advisories import AdvisorySummary

CONTENT_TYPE = "application/json"

_UNKNOWN = "UNKNOWN"
"""What distutils writes for an unknown value."""
_encoder = msgspec.json.Encoder()


def render_legacy(
    project: Project,
    version: str | None,
    metadata: bytes | None,
    *,
    base_url: str,
    url_of: Callable[[File], str] | None = None,
    advisories: Sequence[AdvisorySummary] | None = None,
) -> RenderedPage | None:
    """Return the page of a project (`version` None: described by its newest release) or of one
    release, in any spelling.

    Return None if there is no such release, or no file at all: 404. `project` is what the client
    may see; `metadata` the core metadata of `releases.describing_file`, or None. `base_url` is
    absolute; file URLs begin with ``<base_url>/packages/``, as bandersnatch demands, unless
    `url_of` returns others. `advisories` are those that hit the release; None: they are not known,
    and the page has no ``vulnerabilities``. Never raises, whatever the metadata contains.
    """
    chosen = choose_release(project, version)
    release = None if chosen is None else release_of(project, chosen)
    if release is None:
        return None
    base_url = base_url.rstrip("/")
    if url_of is None:

        def url_of(file: File) -> str:
            return f"{base_url}/packages/{file.project}/{quoted(file.filename)}"

    document: dict[str, Any] = {
        "info": _info(
            project, release, read_metadata(metadata) if metadata else CoreMetadata(), base_url
        ),
        "last_serial": project.serial,
        "ownership": {"organization": None, "roles": []},
        "urls": [_file(file, url_of) for file in release.files],
    }
    if advisories is not None:
        document["vulnerabilities"] = [_vulnerability(each, base_url) for each in advisories]
    if version is None:
        document["releases"] = {
            one.version: [_file(file, url_of) for file in one.files] for one in releases(project)
        }
    return finished(_encoder.encode(document), CONTENT_TYPE)


def _vulnerability(advisory: AdvisorySummary, base_url: str) -> dict[str, Any]:
    return {
        "aliases": advisory.aliases,
        "details": advisory.summary,
        "fixed_in": advisory.fixed,
        "id": advisory.id,
        "link": f"{base_url}/osv/v1/vulns/{quoted(advisory.id)}",
        "source": "osv",
        "summary": advisory.summary,
        "withdrawn": None,
    }


def _info(
    project: Project, release: Release, metadata: CoreMetadata, base_url: str
) -> dict[str, Any]:
    fields = metadata.fields
    page = f"{base_url}/simple/{project.name}/"
    words = (
        *("author", "author_email", "description_content_type", "download_url", "home_page"),
        *("license", "license_expression", "maintainer", "maintainer_email"),
    )
    return {
        "bugtrack_url": None,
        "classifiers": _texts(fields, "classifiers") or [],
        "description": _text(fields.get("description")) or "",
        "docs_url": None,
        "downloads": {"last_day": -1, "last_month": -1, "last_week": -1},
        "dynamic": _texts(fields, "dynamic"),
        "keywords": _joined(fields, "keywords", ","),
        "license_files": _texts(fields, "license_files"),
        "name": _spelled(project, metadata),
        "package_url": page,
        "platform": _joined(fields, "platforms", ", "),
        "project_url": page,
        "project_urls": _project_urls(fields),
        "provides_extra": _texts(fields, "provides_extra"),
        "release_url": page,
        "requires_dist": _texts(fields, "requires_dist"),
        "requires_python": _first(
            *(file.requires_python for file in release.files), metadata.requires_python
        ),
        "summary": _first(metadata.summary, *(file.summary for file in release.files)),
        "version": release.version,
        "yanked": release.is_yanked,
        "yanked_reason": _reason(release.yanked_reason),
        **{word: _text(fields.get(word)) for word in words},
    }


def _file(file: File, url_of: Callable[[File], str]) -> dict[str, Any]:
    packagetype, python_version = _kind(file.filename)
    moment = None if file.uploaded is None else utc_text(file.uploaded)
    digests = {"blake2b_256": file.blake2b_256, "md5": file.md5, "sha256": file.sha256}
    return {
        "comment_text": "",
        "core-metadata": {"sha256": file.metadata_sha256} if file.metadata_sha256 else False,
        # no null in here: readers take every entry for a hash to check
        "digests": {name: digest for name, digest in digests.items() if digest},
        "downloads": -1,
        "filename": file.filename,
        "has_sig": False,
        "md5_digest": file.md5,
        "packagetype": packagetype,
        "python_version": python_version,
        "requires_python": _text(file.requires_python),
        "size": file.size,
        "upload_time": moment and moment[:19],
        "upload_time_iso_8601": moment,
        "url": url_of(file),
        "yanked": file.yanked is not None,
        "yanked_reason": _reason(file.yanked),
    }


def _kind(filename: str) -> tuple[str | None, str | None]:
    """Return the packagetype and the Python version; by the end of the file name, since a page may
    have thousands of files.
    """
    tags = wheel_tags(filename) if filename.endswith(".whl") else None
    if tags is not None:
        return Packagetype.WHEEL.value, tags[0]
    if filename.endswith(ALL_SDIST_SUFFIXES):
        return Packagetype.SDIST.value, "source"
    try:
        distribution = parse_filename(filename)
    except BadFilename:
        return None, None
    return distribution.packagetype.value, distribution.python_version


def _spelled(project: Project, metadata: CoreMetadata) -> str:
    """Return the name as its authors write it, if it is this project's."""
    return metadata.name if metadata.name and metadata.project == project.name else project.name


def _text(value: object) -> str | None:
    """Return the text; None if empty or unknown; what UTF-8 cannot encode becomes ``?``."""
    text = value.strip() if isinstance(value, str) else ""
    return None if text in ("", _UNKNOWN) else text.encode(errors="replace").decode()


def _reason(yanked: str | None) -> str | None:
    """Return the reason of a yank as it was written, encodable; None if there is none."""
    return yanked.encode(errors="replace").decode() if yanked and yanked.strip() else None


def _texts(fields: Mapping[str, Any], word: str) -> list[str] | None:
    """Return the texts of a field that may occur several times; None if there are none."""
    return [text for value in fields.get(word) or () if (text := _text(value))] or None


def _joined(fields: Mapping[str, Any], word: str, separator: str) -> str | None:
    texts = _texts(fields, word)
    return None if texts is None else separator.join(texts)


def _project_urls(fields: Mapping[str, Any]) -> dict[str, str] | None:
    urls = {
        _text(label) or "": _text(url) or ""
        for label, url in (fields.get("project_urls") or {}).items()
    }
    return urls or None


def _first(*texts: str | None) -> str | None:
    """Return the first non-empty text."""
    return next((text for text in map(_text, texts) if text), None)
