"""Error responses: the status, the text and the header fields for each exception.

Clients print different parts of it: twine and poetry the reason phrase, uv, flit and pdm the body
(pdm's "skip existing" reads nothing else), uv the ``code`` of a JSON body. So all of them carry the
message.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from json import dumps
from typing import NotRequired, TypedDict

from attrs import field, frozen
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import RequestRedirect

from pypid.core import errors
from pypid.core.errors import INTERNAL, PypidError
from pypid.web.http.headers import ErrorFormat, Head, choose_error_format
from pypid.web.http.response_body import abort, gone, write
from pypid.web.http.responses import header_of, redirect, set_head

_log = Logger()

REALM = b'Basic realm="pypi", charset="UTF-8"'
"""The authentication challenge. distutils' ``register`` sends its password only to the realm that
``.pypirc`` names, by default "pypi".
"""
LONGEST_REASON = 200
"""Maximum length of the reason phrase in characters; clients and proxies have small limits for the
first line.
"""

_LOGGED_ELSEWHERE = (errors.UpstreamDown, errors.ListIncomplete)
"""Errors that are logged already: the failed request to upstream, and the progress of a start."""

OF_PYPICLOUD = re.compile(rb"/(?:api/(?:package|user)|admin)(?:/|\Z)")
"""Path prefixes of pypicloud's API: its scripts read JSON there, whatever they accept."""

FORMS_OF_PYPICLOUD = b"/acct/"
"""Path prefix of pypicloud's API that browser forms also post to."""
_NAMES_IN_THE_PATH = (errors.BadName, errors.BadFilename)
_WITH_A_FORM = (b"POST", b"PUT", b"PATCH")
_WORD_BEGINS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of pages: only local scripts, styles and icons, and nothing that users
have stored or sent.
"""
_NOTHING = b"default-src 'none'"
_OF_ANOTHER_ANSWER = (
    b"ETag",
    b"Last-Modified",
    b"Accept-Ranges",
    b"Content-Range",
    b"Content-Encoding",
    b"Content-Disposition",
    b"X-PyPI-Last-Serial",
)


class Refused(TypedDict):
    """An error in JSON. `code`: the status and its phrase, on one line; `message`: what happened,
    and what to do about it.

    `help` is the path of the documentation of this error. `error` repeats the title, at the
    addresses of pypicloud's API.
    """

    code: str
    title: str
    message: str
    help: NotRequired[str]
    error: NotRequired[str]


@frozen
class ErrorResponse:
    """An error response: the status, the text for people, and its own header fields."""

    status: int
    text: str
    head: Head = field(default=(), repr=False)
    help: str | None = None
    """The documentation of the error, as a path from the root of the index."""
    phrase: str | None = None
    """The reason phrase, if it is not the text."""

    @property
    def title(self) -> str:
        """The standard phrase of the status."""
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return "Error"

    @property
    def reason(self) -> str:
        """The reason phrase: the text on one line, printable Latin-1, at most 200 characters."""
        text = self.text if self.phrase is None else self.phrase
        line = _CONTROL.sub(" ", text).encode("latin-1", "replace").decode("latin-1").strip()
        return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 3] + "..."


def refusal_of(error: BaseException | None, method: bytes = b"GET") -> ErrorResponse | None:
    """Return the response for the error, or None for an error that is not meant for clients.

    An invalid name is 404 if it is in the path (C20), and 400 if it is in a form (`method` POST,
    PUT or PATCH).
    """
    match error:
        case PypidError():
            return _of_pypid_error(error, method)
        case CancelledError():
            return ErrorResponse(
                503, "The request was broken off. Try again.", ((b"Retry-After", b"5"),)
            )
        case MethodNotAllowed():
            allowed = ", ".join(sorted(error.valid_methods or ("GET", "HEAD")))
            head = ((b"Allow", allowed.encode("ascii", "replace")),)
            return ErrorResponse(405, f"This address takes {allowed} only.", head)
        case NotFound(description=NotFound.description):
            return ErrorResponse(404, "There is nothing at this address.")
        case HTTPException(code=int() as code):
            return ErrorResponse(code, error.description or HTTPStatus(code).phrase)
        case _:
            return None


def status_of(kind: type[PypidError], method: bytes = b"GET") -> int:
    """Return the status of errors of this class; `INTERNAL` for those that are not meant for
    clients.
    """
    if issubclass(kind, _NAMES_IN_THE_PATH) and method not in _WITH_A_FORM:
        return 404
    return kind.http_status


def _of_pypid_error(error: PypidError, method: bytes) -> ErrorResponse | None:
    status = status_of(type(error), method)
    if status == INTERNAL:
        return None
    head: list[tuple[bytes, bytes]] = []
    if status == 401:
        head.append((b"WWW-Authenticate", REALM))
    retry_after = getattr(error, "retry_after", None)
    if isinstance(retry_after, int):
        head.append((b"Retry-After", b"%d" % retry_after))
    phrase = error.phrase if isinstance(error, errors.Withheld) else None
    return ErrorResponse(status, error.text(), tuple(head), help_of(type(error)), phrase)


def help_of(kind: type[PypidError]) -> str:
    """Return the path of the documentation of errors of this class, from the root of the index."""
    words = _WORD_BEGINS.sub("-", kind.__name__.removesuffix("Error")).lower()
    return f"docs/operate/troubleshooting.html#error-{words}"


PageOf = Callable[[ErrorResponse, BaseException], bytes]
"""Renders the error page for a browser."""


async def respond_error(
    request: Request,
    error: Failure | BaseException,
    *,
    random: Callable[[int], bytes],
    page_of: PageOf | None = None,
) -> None:
    """Answer with the error: in plain text, JSON or HTML (`page_of`), as the request accepts.

    An error that is not meant for clients is logged with its traceback, and only the id of the
    request is sent (500). If a response has already begun, the connection is closed at once, and
    `CancelledError` is raised when that is done; if the client has disconnected, nothing happens.
    The request is not finished here. `random` returns that many unpredictable bytes, for requests
    that have no id.
    """
    failure = (
        error if isinstance(error, Failure) else Failure(error)  # type: ignore[no-untyped-call]
    )
    if request.channel is None:
        return
    if request.startedWriting:
        # mostly of the upstream index, where a traceback would add nothing
        if isinstance(failure.value, PypidError):
            _log.warn(
                "a response failed in the middle, and its connection was closed: {error}",
                error=failure.value,
            )
        elif not isinstance(failure.value, CancelledError):
            _log.failure(
                "a response failed in the middle, and its connection was closed", failure=failure
            )
        abort(request)
        await gone(request)
    value = failure.value
    if isinstance(value, RequestRedirect):
        # of the absolute URL that werkzeug makes the part that does not depend on the Host header
        path = "/" + value.new_url.partition("://")[2].partition("/")[2]
        redirect(request, path, permanent=True)
        return
    refusal = refusal_of(value, request.method)
    if refusal is None:
        number = getattr(request, "id", None) or random(6).hex()
        _log.failure("an unexpected error, number {number}", failure=failure, number=number)
        refusal = ErrorResponse(
            500,
            f"Something went wrong here. An administrator finds error number {number} in the log.",
        )
    elif refusal.status in (503, 507) and not isinstance(value, _LOGGED_ELSEWHERE):
        _log.warn(
            "{method} was answered with {status}: {text}",
            method=request.method.decode("latin-1"),
            status=refusal.status,
            text=refusal.text,
        )
    is_page = error_format(request) is ErrorFormat.HTML
    send_refusal(
        request,
        refusal,
        page_of(refusal, value) if page_of is not None and value is not None and is_page else None,
    )


def error_format(request: Request) -> ErrorFormat:
    """Return the error format that the request accepts."""
    chosen = choose_error_format(header_of(request, "accept"))
    return ErrorFormat.JSON if _as_pypicloud(request, chosen) else chosen


def _as_pypicloud(request: Request, chosen: ErrorFormat) -> bool:
    return OF_PYPICLOUD.match(request.path) is not None or (
        request.path.startswith(FORMS_OF_PYPICLOUD) and chosen is ErrorFormat.PLAIN
    )


def send_refusal(request: Request, refusal: ErrorResponse, page: bytes | None = None) -> None:
    """Write the complete error response in the format that the request accepts; as this `page`, if
    it is given.
    """
    chosen = error_format(request)
    preferred = choose_error_format(header_of(request, "accept"))
    body = page or _body(refusal, chosen, as_pypicloud=_as_pypicloud(request, preferred))
    head: Head = (
        (b"Content-Type", chosen.value.encode("ascii")),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"Vary", b"Accept"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Security-Policy", _NOTHING if page is None else POLICY),
        *refusal.head,
    )
    for name in _OF_ANOTHER_ANSWER:
        request.responseHeaders.removeHeader(name)
    set_head(request, refusal.status, head)
    request.setResponseCode(refusal.status, refusal.reason.encode("latin-1"))
    write(request, body)


def _body(refusal: ErrorResponse, chosen: ErrorFormat, *, as_pypicloud: bool = False) -> bytes:
    match chosen:
        case ErrorFormat.PLAIN:
            return f"{refusal.text}\n".encode("utf-8", "replace")
        case ErrorFormat.JSON:
            code = f"{refusal.status} {refusal.reason}"
            document: Refused = {"code": code, "title": refusal.title, "message": refusal.text}
            if refusal.help is not None:
                document["help"] = f"/{refusal.help}"
            if as_pypicloud:
                document["error"] = refusal.title
            return dumps(document).encode("ascii")
        case ErrorFormat.HTML:
            return _html(refusal).encode("utf-8", "replace")


def _html(refusal: ErrorResponse) -> str:
    title = f"{refusal.status} {escape(refusal.title)}"
    lines = "<br>\n".join(escape(_CONTROL.sub(" ", line)) for line in refusal.text.splitlines())
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{lines}</p>\n"
        "</main>\n</body>\n</html>\n"
    )
