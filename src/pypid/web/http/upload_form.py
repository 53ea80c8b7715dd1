"""Streaming parser of upload forms: the distribution goes into a spool, the other fields into
bounded memory.

The parser of `multipart` does the work. In three places its result depends on where the network
cut the body: before the first boundary, at a bare LF within the headers of a part, and at a header
line of exactly the maximum size. Such results would be arbitrary for the uploader, so those three
are decided here. Sources: RFC 7578, RFC 2046.

The forms that clients really send are listed in the tests, one body for each client.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import TypeAlias
from urllib.parse import parse_qsl

from attrs import define, field, frozen
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserError,
    ParserLimitReached,
    PushMultipartParser,
)

from pypid.core.errors import BadRequest, TooLarge
from pypid.core.model import Digests
from pypid.core.packaging.upload import UploadFields, checksums_in
from pypid.flow.spool import Spool
from pypid.ports import Body
from pypid.web.http.request_body import refuse_early

Event: TypeAlias = MultipartSegment | bytes | None
"""The beginning of a part; more of its data; its end."""


class MultipartParser:
    """Takes pieces of a body, and yields its parts."""

    def __init__(self, boundary: bytes, *, at_most: int) -> None:
        self._line = b"\n--" + boundary
        # latin-1 preserves bytes
        self._parser = _Parser(boundary, max_segment_count=at_most, header_charset="latin-1")
        self._before: bytes | None = b"\r\n"
        """The end of what has come before the first boundary, None after it. A body begins as if on
        a new line.
        """

    def parse(self, piece: bytes) -> Iterator[Event]:
        """Yield the events of the next `piece`; to be read to the end. Raises
        `multipart.MultipartError`.
        """
        if self._before is not None:
            piece = self._behind_preamble(self._before + piece)
        if piece:  # an empty one would mean the end of the body
            yield from self._parser.parse(piece)

    def _behind_preamble(self, data: bytes) -> bytes:
        """Return the data from the first boundary at the start of a line; what is before it means
        nothing (RFC 2046, 5.1.1).
        """
        at = data.find(self._line)
        if at < 0:
            self._before = data[-len(self._line) :]
            return b""
        if data[at - 1 : at] != b"\r":
            raise ParserError("Invalid line break before first boundary")
        self._before = None
        return data[at + 1 :]

    def close(self) -> None:
        """End the body. Raises `multipart.ParserError` if its last boundary has not come."""
        self._parser.close()


class _Parser(PushMultipartParser):  # type: ignore[misc]
    def _on_segment_headerline(self, line: bytes) -> None:
        """Process a whole header line, by the rules that hold while the parser waits for the end of
        one.
        """
        if b"\n" in line:
            raise ParserError("Invalid line break in segment header")
        if len(line) >= self.max_header_size:  # its CR may have come alone, and counted
            raise ParserLimitReached("Maximum segment header length exceeded")
        super()._on_segment_headerline(line)


MAX_UPLOAD = "[server] max_upload"

CUT_OFF = (
    "The form ends before its last boundary: the upload was cut off on its way. Send it again."
)
BARE_LF = (
    "The lines of this form end with LF alone, which HTTP does not know. Your distutils is older "
    "than 2.7.9 or 3.4.3 (https://bugs.python.org/issue10510): upload with twine."
)
REGISTRATIONS = (b"submit", b"submit_pkg_info")
_BARE_ACTION = re.compile(rb'name=":action"\n\n([a-z_]+)\n')
NOT_A_FORM = (
    "An upload is a form: Content-Type must be multipart/form-data with a boundary, or "
    "application/x-www-form-urlencoded where no file is sent."
)

_BOUNDARY = re.compile(
    r';\s*boundary\s*=\s*(?:"([^"\x00-\x1f]+)"|([^;"\s\x00-\x1f]+))', re.IGNORECASE
)


@frozen(kw_only=True)
class Limits:
    """Limits on the parts of a form, in bytes.

    Descriptions are whole READMEs, so a field may be large; the Python Package Index has known
    forms with hundreds of classifiers and requirements, one part each.
    """

    content: int
    """The distribution; the setting `MAX_UPLOAD`."""
    text: int = 8 << 20
    """One text field."""
    total: int = 32 << 20
    """All the text fields together; the boundaries and headers of all parts together may take as
    much again.
    """
    fields: int = 5000
    urlencoded: int = 256 << 10
    """A whole form without a file; parsing one of 8 MiB stalled the reactor for 2.7 s."""
    attestations: int = 1 << 20

    @property
    def body(self) -> int:
        """The whole body."""
        return self.content + 2 * self.total

    def of(self, name: str) -> int:
        """Return the limit of the text field `name`."""
        return self.attestations if name == "attestations" else self.text


def refuse_early_form(size: int | None, limits: Limits) -> None:
    """Raise `TooLarge` for a form whose announced size exceeds `limits`."""
    if size is not None and size > limits.body:
        raise TooLarge(limits.content, MAX_UPLOAD)


Check: TypeAlias = Callable[[Mapping[str, Sequence[str]]], None]
"""Raises an error if the fields before the file do not permit it."""


async def read_form(
    body: Body,
    content_type: str,
    *,
    limits: Limits,
    spool: Spool | None,
    part: str = "content",
    check: Check = lambda fields: None,
) -> UploadFields:
    """Return the form in `body`; the file in its `part` goes to `spool`, which is finished then
    (None: all parts are text fields).
    Reads the body to its end. `check` is called before the first byte of the file.

    Raises `BadRequest` for a body that is not a form, `TooLarge` beyond `limits`, and what body and
    spool raise. Whether fields make sense is not checked here: `pypid.core.packaging.upload` does
    that.
    """
    refuse_early_form(body.size, limits)
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return await _read_urlencoded(body, limits)
    boundary = boundary_in(content_type)
    return await _read_multipart(body, boundary, limits, _Reading(limits, spool, part, check))


def boundary_in(content_type: str) -> bytes:
    """Return the boundary of a multipart form, from its Content-Type. Raises `BadRequest` if it is
    not such a form.
    """
    boundary = _BOUNDARY.search(content_type)
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data" or boundary is None:
        raise BadRequest(NOT_A_FORM)
    return (boundary[1] or boundary[2]).encode("latin-1", "replace")


async def _read_urlencoded(body: Body, limits: Limits) -> UploadFields:
    refuse_early(body.size, limits.urlencoded)
    data = bytearray()
    async for piece in body:
        data += piece
        if len(data) > limits.urlencoded:
            raise TooLarge(limits.urlencoded)
    try:
        # decoding and encoding as latin-1 preserves the bytes
        pairs = parse_qsl(
            data.decode("latin-1"),
            keep_blank_values=True,
            encoding="latin-1",
            max_num_fields=limits.fields,
        )
    except ValueError as error:
        raise BadRequest(f"The form has more than {limits.fields} fields.") from error
    fields = _Fields(limits)
    for name, value in pairs:
        fields.add(text_of(name.encode("latin-1")), value.encode("latin-1"))
    return fields.form(None, None)


async def _read_multipart(
    body: Body, boundary: bytes, limits: Limits, reading: _Reading
) -> UploadFields:
    parser = MultipartParser(boundary, at_most=limits.fields)
    room = limits.body
    bare = bytearray()
    try:
        async for piece in body:
            if bare or (room == limits.body and piece.startswith(b"\n")):
                bare += piece
                if len(bare) > limits.urlencoded:
                    raise BadRequest(BARE_LF)
                continue
            # errors within the limit are reported first, wherever the piece began that crosses it
            for event in parser.parse(piece[:room]):
                if isinstance(event, MultipartSegment):
                    reading.begin(event)
                elif event is None:
                    reading.end()
                else:
                    await reading.more(event)
            room -= len(piece)
            if room < 0:
                raise TooLarge(limits.content, MAX_UPLOAD)
        if bare:
            return _registration(bytes(bare))
        parser.close()
    except MultipartError as error:
        raise refusal_of_form(error, limits.fields) from error
    return await reading.form()


def _registration(data: bytes) -> UploadFields:
    """Return the form of distutils' ``register``, whose lines end with LF alone in every version:
    only its action matters.

    Raises `BadRequest` for another form like that.
    """
    action = _BARE_ACTION.search(data)
    if action is None or action[1] not in REGISTRATIONS:
        raise BadRequest(BARE_LF)
    return UploadFields(
        fields={":action": (action[1].decode("ascii"),)},
        filename=None,
        content_digests=None,
    )


def refusal_of_form(error: MultipartError, most: int) -> BadRequest:
    """Return the error of the form, of which at most so many parts are read, with advice."""
    if "Invalid line break" in str(error):
        return BadRequest(BARE_LF)
    if isinstance(error, ParserLimitReached):
        return BadRequest(f"The form has more than {most} parts, or a part with too long headers.")
    if "Unexpected end" in str(error):
        return BadRequest(CUT_OFF)
    return BadRequest(
        "The body is not multipart/form-data (RFC 7578) with the boundary of its Content-Type: "
        f"{error}."
    )


@define
class _Fields:
    """The text fields that have come, within their limits."""

    limits: Limits
    texts: dict[str, list[str]] = field(factory=dict)
    taken: int = 0

    def room(self, name: str, size: int, more: int) -> None:
        """Raise `BadRequest` if a field that has `size` bytes cannot have `more`."""
        self.taken += more
        limit = self.limits.of(name)
        if size + more > limit:
            raise BadRequest(
                f"The form field {name[:80]!r} is larger than the {limit} bytes that are allowed."
            )
        if self.taken > self.limits.total:
            raise BadRequest(
                f"The text fields of the form are larger than the {self.limits.total} bytes that "
                "are allowed."
            )

    def add(self, name: str, value: bytes) -> None:
        if name != "gpg_signature":  # old clients still send PGP signatures: they are ignored
            self.texts.setdefault(name, []).append(text_of(value))

    def form(self, filename: str | None, digests: Digests | None) -> UploadFields:
        fields = {name: tuple(values) for name, values in self.texts.items()}
        return UploadFields(fields=fields, filename=filename, content_digests=digests)


class _Reading:
    """State of reading a form."""

    def __init__(
        self,
        limits: Limits,
        spool: Spool | None,
        part: str,
        check: Check,
    ) -> None:
        self._limits = limits
        self._spool = spool
        self._part = part
        self._check = check
        self._fields = _Fields(limits)
        self._name = ""
        self._text = bytearray()
        self._content: Spool | None = None
        self._has_content = False
        self._content_size = 0
        self._filename: str | None = None

    def begin(self, segment: MultipartSegment) -> None:
        self._name = text_of((segment.name or "").encode("latin-1"))
        self._content = self._spool if self._name == self._part else None
        if self._content is None:
            return
        if self._has_content:
            raise BadRequest(
                f"The form has two parts named {self._part!r}. Upload one file at a time."
            )
        if int(segment.header("Content-Length", "0")) > self._limits.content:
            raise TooLarge(self._limits.content, MAX_UPLOAD)
        self._has_content = True
        # the library would strip what looks like a Windows path
        self._filename = file_name_in(segment.header("Content-Disposition", ""))
        self._content.want(checksums_in(self._fields.texts))
        self._check(self._fields.texts)

    async def more(self, data: bytes) -> None:
        if self._content is not None:
            self._content_size += len(data)
            if self._content_size > self._limits.content:
                raise TooLarge(self._limits.content, MAX_UPLOAD)
            await self._content.write(data)
        else:
            self._fields.room(self._name, len(self._text), len(data))
            self._text += data

    def end(self) -> None:
        if self._content is None:
            self._fields.add(self._name, bytes(self._text))
        self._text = bytearray()
        self._content = None

    async def form(self) -> UploadFields:
        digests = None
        if self._spool is not None and self._has_content:
            self._spool.want(
                checksums_in(self._fields.texts)
            )  # old distutils sends its MD5 after the file
            digests = await self._spool.finish()
        return self._fields.form(self._filename, digests)


def file_name_in(disposition: str) -> str | None:
    """Return the file name in a Content-Disposition header, with the path that it may have; None if
    there is none.

    ``filename*`` (RFC 5987) is not allowed in forms, but urllib3 sent it for a long time.
    """
    message = Message()
    message["Content-Disposition"] = disposition
    value = message.get_param("filename", header="Content-Disposition")
    if value is None:
        return None
    if isinstance(value, tuple):
        return collapse_rfc2231_value(value)
    return text_of(value.encode("latin-1", "replace"))


def text_of(data: bytes) -> str:
    """Decode `data` as UTF-8, which all current clients send; else as latin-1, as old clients
    did.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
