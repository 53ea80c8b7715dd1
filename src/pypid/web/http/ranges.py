"""Range and If-Range: the requested part of a file. Pure; no header that a client sends makes it
raise.

Source: RFC 9110, sections 13.1.5 and 14. Clients: pip resumes (``N-`` with If-Range), uv and pip's
fast-deps read the end of a wheel (``a-b``), poetry requests a suffix that is longer than many files
(``-10000``). No client requests several ranges.
"""

from __future__ import annotations

import re

from attrs import frozen

from pypid.core.model import Span
from pypid.web.http.headers import Validators, names, parse_http_date

_RANGE = re.compile(r"[ \t]*bytes[ \t]*=[ \t]*([0-9]*)-([0-9]*)[ \t]*\Z", re.IGNORECASE)
_LONGEST_NUMBER = 20
"""Maximum number of digits, more than any size has. (Python refuses to read more than 4,300.)"""


@frozen
class Unsatisfiable:
    """A range that begins after the end: HTTP 416."""


Wanted = Span | Unsatisfiable | None
"""None: the whole, with 200."""


def wanted(header: str | None, size: int) -> Wanted:
    """Return the part of `size` bytes that a Range header requests.

    A header that is malformed, of another unit or of several ranges is ignored (RFC 9110, 14.2
    allows it): the whole.
    """
    match = _RANGE.match(header) if header is not None else None
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        return _suffix(last, size) if last else None
    start = _number(first)
    stop = _number(last) + 1 if last else size
    if last and stop <= start:
        return None
    if start >= size:
        return Unsatisfiable()
    return Span(start, min(stop, size))


def _suffix(digits: str, size: int) -> Wanted:
    length = _number(digits)
    if length == 0:
        return Unsatisfiable()
    if size == 0:
        return None
    return Span(max(0, size - length), size)


def _number(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant[: _LONGEST_NUMBER + 1] or "0")


def still_the_same(if_range: str | None, validators: Validators) -> bool:
    """Return whether a range may be sent: there is no If-Range, or it names the current file.

    Tags are compared strongly (a weak one never matches), a date must be that of Last-Modified
    exactly.
    """
    if if_range is None:
        return True
    text = if_range.strip()
    if text.startswith(('"', "W/")):
        return names(text, validators.etag, weakly=False)
    date = parse_http_date(text)
    return (
        date is not None
        and validators.modified is not None
        and date == validators.modified.replace(microsecond=0)
    )
