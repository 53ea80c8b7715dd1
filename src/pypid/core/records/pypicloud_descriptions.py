"""What pypicloud writes about a file beside its bytes: S3 user metadata in a bucket,
``<file>.meta`` in a folder.

Source: pypicloud 1.3.12, ``models.Package`` and ``util.normalize_metadata``. It writes ASCII only
into a bucket: letters lose their accents there, and others are dropped, for good.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from attrs import frozen

from pypid.core.errors import Unreadable
from pypid.core.packaging.core_metadata import python_specifier, summary_line

_LONGEST = 200
"""Maximum length in characters of a name, a version or an uploader."""
_LONGEST_WORDS = 8192
"""Maximum length in characters of a text that is decoded: user metadata has 2 KB in all."""
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_MD5 = re.compile(r"[0-9a-f]{32}\Z")


@frozen(kw_only=True)
class PypicloudDescription:
    """The description of a file; absent fields are None. `name` and `version` are as they were
    uploaded. `odd`: problems with unusable fields.
    """

    name: str | None = None
    version: str | None = None
    summary: str | None = None
    requires_python: str | None = None
    sha256: str | None = None
    md5: str | None = None
    uploader: str | None = None
    odd: tuple[str, ...] = ()


def of_texts(texts: Mapping[str, object]) -> PypicloudDescription:
    """Return the description in the names and texts of user metadata, or of the JSON, whose names
    have underscores. Any content is accepted.
    """
    fields = {
        name.replace("_", "-"): _decoded(text).strip()
        for name, text in texts.items()
        if isinstance(text, str)
    }
    odd: list[str] = []
    return PypicloudDescription(
        name=_short(fields.get("name")),
        version=_short(fields.get("version")),
        summary=summary_line(fields.get("summary")),
        requires_python=python_specifier(fields.get("requires-python") or None, odd),
        sha256=_hash(fields.get("hash-sha256"), _SHA256, odd),
        md5=_hash(fields.get("hash-md5"), _MD5, odd),
        uploader=_short(fields.get("uploader")),
        odd=tuple(odd),
    )


def of_json(data: bytes, what: str) -> PypicloudDescription:
    """Return the description in a ``.meta``. Raises `Unreadable`, naming `what`."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(what, str(error)) from None
    if not isinstance(found, dict):
        raise Unreadable(what, "it is no JSON object")
    return of_texts(found)


def _decoded(text: str) -> str:
    """Decode RFC 2047 words, in which S3 returns other texts than ASCII."""
    if len(text) > _LONGEST_WORDS or not (text.startswith("=?") and text.endswith("?=")):
        return text
    from email.errors import MessageError
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(text)))
    except (MessageError, LookupError, ValueError):
        return text


def _short(text: str | None) -> str | None:
    return text if text and len(text) <= _LONGEST and text.isprintable() else None


def _hash(text: str | None, form: re.Pattern[str], odd: list[str]) -> str | None:
    lower = (text or "").lower()
    if lower and not form.match(lower):
        odd.append("the hash that is written down of it is none.")
        return None
    return lower or None
