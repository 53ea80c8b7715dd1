"""The site's upload form, parsed as it arrives: each file has a spool of its own, and is published
or refused.

Published files stay, whatever follows: an error in one file concerns only this file, and the next
one is processed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from attrs import define, evolve, field, frozen
from multipart import MultipartError, MultipartSegment

from pypid.core.errors import BadRequest, PypidError, TooLarge, UploadRejected, shortened
from pypid.core.packaging.names import parse_filename
from pypid.core.packaging.upload import UploadFields
from pypid.core.permissions import Identity
from pypid.flow import shielded
from pypid.web.app.errors import refusal_of
from pypid.web.app.request_context import RequestContext
from pypid.web.http.cookies import FIELD, credential_of_cookie, demand_csrf_token
from pypid.web.http.request_body import refuse_early
from pypid.web.http.responses import header_of
from pypid.web.http.upload_form import (
    CUT_OFF,
    MAX_UPLOAD,
    Event,
    MultipartParser,
    boundary_in,
    file_name_in,
    refusal_of_form,
    text_of,
)
from pypid.web.installers.uploads import Published, Reception, counted, publish, receiving

FILES, OVERWRITE = "files", "overwrite"
"""The fields of the form after the CSRF token, which comes first: the files, and a checkbox before
them.
"""
MOST_FILES = 50
"""Maximum number of files in a form."""
_OTHER_FIELDS = 10
"""Maximum number of other fields."""
_TEXT = 1 << 10
"""Maximum bytes of a field that is no file."""
_FRAME = 1 << 20
"""Maximum bytes of a form without its files."""


@frozen(kw_only=True)
class ReceivedFile:
    """The result of one file."""

    filename: str
    outcome: str
    """A value of `index.local.publish.PublishOutcome`, or ``refused``."""
    words: str
    problems: tuple[str, ...] = ()
    """All that is wrong with the file."""
    project: str | None = None
    version: str | None = None
    status: int = 200
    """The HTTP status of this file."""


@define
class MultiUpload:
    """The result of a form: its files in order, and the error of the form itself, if any."""

    files: list[ReceivedFile] = field(factory=list)
    problem: PypidError | None = None

    def fail(self, problem: PypidError) -> None:
        """Record the error of the form itself."""
        self.problem = problem

    @property
    def status(self) -> int:
        """Return the status of the response: that of the error if all are the same, else 400."""
        bad = {file.status for file in self.files if file.problems}
        refusal = None if self.problem is None else refusal_of(self.problem, b"POST")
        bad |= set() if refusal is None else {refusal.status}
        return 200 if not bad else bad.pop() if len(bad) == 1 else 400


async def take(ctx: RequestContext) -> MultiUpload:
    """Publish the files of the form, one after the other; to the end, even if the client
    disconnects.

    Raises `NoCsrfToken` before anything is stored, `TooLarge` and `BadRequest` for what is no such
    form at all, `ClientGone`.
    """
    refuse_early(
        ctx.request.body.size, MOST_FILES * ctx.app.settings.max_upload + _FRAME, MAX_UPLOAD
    )
    try:
        boundary = boundary_in(header_of(ctx.request, "content-type") or "")
    except BadRequest:
        if ctx.request.session is not None:  # a content type that any page can have a browser send
            demand_csrf_token(ctx.request, ctx.request.session)
        raise
    return await shielded(counted(ctx.app, _taken(ctx, boundary)))


async def _taken(ctx: RequestContext, boundary: bytes) -> MultiUpload:
    reading = _Reading(ctx)
    parser = MultipartParser(boundary, at_most=MOST_FILES + _OTHER_FIELDS)
    room = MOST_FILES * ctx.app.settings.max_upload + _FRAME
    try:
        async for piece in ctx.request.body:
            for event in parser.parse(piece[:room]):
                await reading.hear(event)
            room -= len(piece)
            if room < 0:
                raise TooLarge(ctx.app.settings.max_upload, MAX_UPLOAD)
        parser.close()
        reading.trust(None)  # a form without any part
        reading.demand_files()
    except MultipartError as error:
        reading.break_off(refusal_of_form(error, MOST_FILES + _OTHER_FIELDS))
    except (BadRequest, TooLarge) as error:
        reading.break_off(error)
    finally:
        await reading.discard()
    return reading.result


class _Reading:
    """The state of the form while it is read."""

    def __init__(self, ctx: RequestContext) -> None:
        self.result = MultiUpload()
        self._ctx = ctx
        self._is_trusted = ctx.request.session is None
        self._overwriting = False
        self._name = ""
        self._text = bytearray()
        self._filename: str | None = None
        self._file = AsyncExitStack()
        self._reception: Reception | None = None
        self._came = 0
        self._failure: PypidError | None = None

    def trust(self, token: str | None) -> None:
        """Raise `NoCsrfToken` unless the form or a request header has the CSRF token of its
        session.
        """
        if not self._is_trusted and self._ctx.request.session is not None:
            demand_csrf_token(self._ctx.request, self._ctx.request.session, token)
            self._is_trusted = True

    async def hear(self, event: Event) -> None:
        """Process the next event of the parser."""
        if isinstance(event, MultipartSegment):
            await self._begin(event)
        elif event is None:
            await self._end()
        elif self._filename is None:
            self._text += event
            if len(self._text) > _TEXT:
                raise BadRequest(
                    f"The form field {self._name[:80]!r} is larger than the {_TEXT} bytes that "
                    f"are allowed."
                )
        else:
            await self._more(event)

    async def _begin(self, segment: MultipartSegment) -> None:
        self._name = text_of((segment.name or "").encode("latin-1"))
        self._text, self._came, self._failure = bytearray(), 0, None
        if self._name != FIELD:
            self.trust(None)
        named = (
            file_name_in(segment.header("Content-Disposition", "")) if self._name == FILES else None
        )
        if not named:  # sent by browsers if no file was chosen
            self._filename = None
            return
        if len(self.result.files) >= MOST_FILES:
            raise BadRequest(
                f"A form can have at most {MOST_FILES} files; the files after them were ignored."
            )
        self._filename = named
        receiver = receiving(self._ctx, self._ctx.app.settings.max_upload)
        self._reception = await self._file.enter_async_context(receiver)
        await self._reception.begin(named)

    async def _more(self, data: bytes) -> None:
        """Add data to a file. The rest of a file that failed is read and dropped: other files may
        follow.
        """
        self._came += len(data)
        if self._failure is not None or self._reception is None:
            return
        try:
            if self._came > self._ctx.app.settings.max_upload:
                raise TooLarge(self._ctx.app.settings.max_upload, MAX_UPLOAD)
            await self._reception.spool.write(data)
        except PypidError as error:
            self._failure = error
            await self.discard()

    async def _end(self) -> None:
        filename, self._filename = self._filename, None
        if filename is None:
            if self._name == FIELD:
                self.trust(text_of(bytes(self._text)))
            elif self._name == OVERWRITE:
                self._overwriting = True
            return
        self.result.files.append(await self._published(filename))
        await self.discard()

    async def _published(self, filename: str) -> ReceivedFile:
        try:
            if self._failure is not None or self._reception is None:
                raise self._failure or BadRequest(CUT_OFF)
            spool, early = self._reception.spool, self._reception.early
            form = UploadFields(fields={}, filename=filename, content_digests=await spool.finish())
            ctx = evolve(self._ctx, identity=await self._current_identity())
            return published(
                await publish(ctx, form, spool, overwriting=self._overwriting, early=early)
            )
        except PypidError as error:
            return refused(filename, error)

    async def _current_identity(self) -> Identity:
        """Return the current identity of the client: fifty files can take any time, and the session
        may have ended meanwhile.

        Raises `Unauthenticated`, `PeopleUnknown`.
        """
        ctx = self._ctx
        cookie = None if ctx.request.session is None else credential_of_cookie(ctx.request)
        return ctx.identity if cookie is None else await ctx.app.access.identify(cookie)

    def demand_files(self) -> None:
        """Report a problem if the form had no file."""
        if not self.result.files:
            self.result.fail(
                BadRequest("No file was chosen. Choose the wheels and sdists to publish.")
            )

    def break_off(self, error: PypidError) -> None:
        """Stop reading the form. Raises the error if there is no file that it could be reported
        with.
        """
        if self._filename is not None:
            self.result.files.append(refused(self._filename, error))
            self._filename = None
        elif not self.result.files:
            raise error
        else:
            self.result.fail(error)

    async def discard(self) -> None:
        """Discard what was received of the current file."""
        self._reception = None
        await self._file.aclose()


def published(done: Published) -> ReceivedFile:
    """Return the result of a published file."""
    distribution = done.upload.distribution
    return ReceivedFile(
        filename=distribution.filename,
        outcome=done.outcome.value,
        words=done.words[:1].upper() + done.words[1:] + ".",
        project=distribution.project,
        version=done.upload.version,
    )


def refused(filename: str, error: PypidError) -> ReceivedFile:
    """Return the result of a refused file. Raises the error if it is not meant for clients."""
    refusal = refusal_of(error, b"POST")
    if refusal is None:
        raise error
    return ReceivedFile(
        filename=shortened(filename),
        outcome="refused",
        words="Not published.",
        problems=tuple(_problems(error)),
        project=_project_of(filename),
        status=403 if refusal.status == 401 else refusal.status,  # a page has no challenge
    )


def _problems(error: PypidError) -> Sequence[str]:
    return error.problems if isinstance(error, UploadRejected) else (error.text(),)


def _project_of(filename: str) -> str | None:
    try:
        return parse_filename(filename).project
    except PypidError:
        return None
