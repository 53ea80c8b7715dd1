"""Upload forms as clients send them: the order of the parts, their headers, their oddities, the
boundary.

Seen by running each client against an index that wrote down what came.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b, md5, sha256

from attrs import frozen

from tests.web.full_app import Part, form, text

DISTUTILS = "--------------GHSKFJDLGDS7543FJKLFHRE75642756743254"
OCTETS = "\r\nContent-Type: application/octet-stream"


@frozen
class Dist:
    """What is uploaded."""

    filename: str
    data: bytes
    name: str = "spam"
    version: str = "1.0"

    @property
    def filetype(self) -> str:
        """As the form says it."""
        return "bdist_wheel" if self.filename.endswith(".whl") else "sdist"

    @property
    def pyversion(self) -> str:
        """As the form says it."""
        return "py3" if self.filename.endswith(".whl") else "source"

    def digests(self, *kinds: str) -> list[Part]:
        """Fields with the digests of these kinds, in this order."""
        true = {
            "md5": md5(self.data).hexdigest(),
            "sha256": sha256(self.data).hexdigest(),
            "blake2_256": blake2b(self.data, digest_size=32).hexdigest(),
        }
        return [text(f"{kind}_digest", true[kind]) for kind in kinds]

    def content(self, headers: str = "") -> Part:
        """The part with the file."""
        return (f'name="content"; filename="{self.filename}"{headers}', self.data)


@frozen
class Sent:
    """A form on its way."""

    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()


START = [text(":action", "file_upload"), text("protocol_version", "1")]


def _described(dist: Dist, metadata_version: str) -> list[Part]:
    return [
        text("metadata_version", metadata_version),
        text("name", dist.name),
        text("version", dist.version),
        text("filetype", dist.filetype),
        text("pyversion", dist.pyversion),
    ]


def twine_7(dist: Dist, *more: Part) -> Sent:
    """twine 6.2 and later: no MD5; signature and attestations (`more`) before the file."""
    parts = [
        *_described(dist, "2.4"),
        text("summary", "Lovely spam"),
        text("keywords", "x, y"),
        text("classifiers", "Programming Language :: Python"),
        text("classifiers", "License :: OSI Approved"),
        text("requires_dist", "eggs>=1"),
        text("description", "Grüße\r\n\r\n--\r\n"),
        *START,
        *dist.digests("sha256", "blake2_256"),
        *more,
        dist.content(OCTETS),
    ]
    return _urllib3(parts, "4b1c6b5a0f3f4f0bb0a4c8c58e1fb2f5", "twine/7.0.0 CPython/3.11.7")


def twine_6(dist: Dist, *more: Part) -> Sent:
    """twine up to 6.1: MD5 too."""
    parts = [
        *_described(dist, "2.1"),
        *START,
        *dist.digests("md5", "sha256", "blake2_256"),
        *more,
        dist.content(OCTETS),
    ]
    return _urllib3(parts, "90ab6b5a0f3f4f0bb0a4c8c58e1fb2f5", "twine/6.1.0 CPython/3.11.7")


def uv(dist: Dist, *more: Part) -> Sent:
    """uv: the action first, the file without a type, attestations (`more`) after it, empty
    requires_python.
    """
    parts = [
        *START,
        *_described(dist, "2.4"),
        *dist.digests("sha256", "blake2_256"),
        text("requires_python", ""),
        text("import_names", "spam"),
        dist.content(),
        *more,
    ]
    boundary = "1f8b8c9d-2a4e-4f6e-9c3f-0d2c5b7a9e11"
    accept = ("Accept", "application/json;q=0.9, text/plain;q=0.8, text/html;q=0.7")
    return Sent(
        form(parts, boundary),
        f"multipart/form-data; boundary={boundary}",
        (accept, ("User-Agent", "uv/0.13.8")),
    )


def poetry(dist: Dist) -> Sent:
    """poetry."""
    parts = [
        *START,
        *_described(dist, "2.4"),
        text("import_names", "spam"),
        *dist.digests("md5", "sha256", "blake2_256"),
        dist.content(OCTETS),
    ]
    return _urllib3(parts, "77fe6b5a0f3f4f0bb0a4c8c58e1fb2f5", "poetry/2.5.1")


def flit(dist: Dist) -> Sent:
    """flit: metadata 2.3 whatever the file says, no pyversion for sdists, no type for the file."""
    parts = [
        *START,
        text("name", dist.name),
        text("version", dist.version),
        text("metadata_version", "2.3"),
        text("provides", "spam"),
        text("filetype", dist.filetype),
        *([text("pyversion", "py2.py3")] if dist.filetype == "bdist_wheel" else []),
        *dist.digests("md5", "sha256"),
        dist.content(),
    ]
    return _urllib3(parts, "0b9f0aef9a5c4a4b9c7d5f2e8d1c6a3b", "python-requests/2.32.3")


def hatch(dist: Dist) -> Sent:
    """hatch: header names of the metadata, lower case, some of them unknown to everybody else."""
    parts = [
        *_described(dist, "2.4"),
        text("import_name", "spam"),
        text("provides_extra", "test"),
        *START,
        *dist.digests("md5", "sha256", "blake2_256"),
        dist.content(OCTETS),
    ]
    return _urllib3(parts, "c2d16b5a0f3f4f0bb0a4c8c58e1fb2f5", "python-httpx/0.28.1")


def pdm(dist: Dist, signature: str | None = None) -> Sent:
    """pdm: empty fields, ``provides_extras``, and a signature as two texts."""
    signed = (
        []
        if signature is None
        else [text("gpg_signature", f"{dist.filename}.asc"), text("gpg_signature", signature)]
    )
    empty = [
        text(name, "")
        for name in ("home_page", "author", "maintainer", "license", "download_url", "comment")
    ]
    parts = [
        *_described(dist, "2.4"),
        *empty,
        text("provides_extras", "test"),
        *START,
        *dist.digests("sha256", "md5", "blake2_256"),
        *signed,
        dist.content(OCTETS),
    ]
    return _urllib3(parts, "5f0d4c3b2a19487e8f6d5c4b3a291807", "pdm/2.29.3")


def distutils_2_7(dist: Dist) -> Sent:
    """Python 2.7: a misspelt field, the file in the middle, UNKNOWN, and a
    CRLF before everything.
    """
    parts = [
        text("protcol_version", "1"),
        *dist.digests("md5"),
        text("name", dist.name),
        text("license", "UNKNOWN"),
        dist.content(),
        text("version", dist.version),
        text("metadata_version", "1.0"),
        text("home_page", "UNKNOWN"),
        text("requires_python", "UNKNOWN"),
        text("filetype", dist.filetype),
        text("pyversion", "source"),
        text(":action", "file_upload"),
    ]
    return _distutils(parts)


def distutils_3_6(dist: Dist) -> Sent:
    """Python 3.6: MD5 only, UNKNOWN."""
    parts = [
        *START,
        *_described(dist, "1.0"),
        text("license", "UNKNOWN"),
        *dist.digests("md5"),
        dist.content(),
    ]
    return _distutils(parts)


def distutils_3_11(dist: Dist) -> Sent:
    """Python 3.11: ``None``, and an empty pyversion."""
    parts = [
        *START,
        text("name", dist.name),
        text("version", dist.version),
        dist.content(),
        text("filetype", dist.filetype),
        text("pyversion", ""),
        *dist.digests("md5", "sha256", "blake2_256"),
        text("metadata_version", "2.1"),
        text("license", "None"),
        text("author", "None"),
        text("requires_python", "None"),
        text("comment", ""),
    ]
    return _distutils(parts)


def distutils_of_old(dist: Dist) -> Sent:
    """Before 2.7.9 and 3.4.3: lines end with LF alone."""
    parts = [*START, *_described(dist, "1.0"), *dist.digests("md5"), dist.content()]
    return Sent(
        form(parts, DISTUTILS, newline=b"\n", leading=True),
        f"multipart/form-data; boundary={DISTUTILS}",
    )


def _urllib3(parts: list[Part], boundary: str, agent: str) -> Sent:
    return Sent(
        form(parts, boundary),
        f"multipart/form-data; boundary={boundary}",
        (("User-Agent", agent), ("Accept", "*/*")),
    )


def _distutils(parts: list[Part]) -> Sent:
    body = form(parts, DISTUTILS, leading=True)
    return Sent(body, f"multipart/form-data; boundary={DISTUTILS}", (("Connection", "close"),))


CLIENTS: dict[str, Callable[[Dist], Sent]] = {
    "twine 7": twine_7,
    "twine 6.1": twine_6,
    "uv": uv,
    "poetry": poetry,
    "flit": flit,
    "hatch": hatch,
    "pdm": pdm,
    "distutils of Python 2.7": distutils_2_7,
    "distutils of Python 3.6": distutils_3_6,
    "distutils of Python 3.11": distutils_3_11,
}
