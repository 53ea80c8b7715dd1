"""Conditional requests: entity tags, dates, and whether the client already has the response. Pure;
no request header makes it raise.

Source: RFC 9110, sections 8.8 (validators) and 13 (conditional requests).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from enum import Enum

from attrs import frozen

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_GAP = re.compile(r"[ \t,]*")
_COMMA = re.compile(r"[ \t]*(?:,[ \t,]*|\Z)")


@frozen
class EntityTag:
    """An entity tag; `opaque` is without its quotes."""

    opaque: str
    weak: bool = False


class ConditionalVerdict(Enum):
    """The result of a request's conditions, as an HTTP status."""

    SEND = 200
    NOT_MODIFIED = 304
    FAILED = 412


@frozen
class Validators:
    """What can be compared: the strong entity tag as it is sent (with its quotes), and the time of
    the last change.
    """

    etag: str | None = None
    modified: datetime | None = None


def entity_tags(header: str) -> tuple[EntityTag, ...]:
    """Return the tags of a list such as ``"a", W/"b"``; reading stops at the first element that is
    not a tag.
    """
    tags: list[EntityTag] = []
    start = _GAP.match(header)
    position = start.end() if start else 0
    while match := _TAG.match(header, position):
        comma = _COMMA.match(header, match.end())
        if comma is None:
            break
        tags.append(EntityTag(match[2], weak=match[1] is not None))
        position = comma.end()
    return tuple(tags)


def http_date(moment: datetime) -> str:
    """Return `moment` (aware) as an HTTP date: ``Sun, 06 Nov 1994 08:49:37 GMT``."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def parse_http_date(text: str) -> datetime | None:
    """Return the time that an HTTP date names (all three forms), aware, UTC; None if it is
    invalid.
    """
    try:
        moment = parsedate_to_datetime(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def names(header: str, etag: str | None, *, weakly: bool) -> bool:
    """Return whether the list in `header` (or ``*``) names the strong `etag`; weak tags in the list
    match only if `weakly`.
    """
    if header.strip() == "*":
        return True
    if etag is None:
        return False
    return any(
        f'"{tag.opaque}"' == etag and (weakly or not tag.weak) for tag in entity_tags(header)
    )


def judge(headers: Mapping[str, str], validators: Validators) -> ConditionalVerdict:
    """Evaluate the conditions of a GET or HEAD, in the order of RFC 9110, section 13.2.2.

    `headers` are those of the request, by lower-case name, several of one name joined by commas.
    Range and If-Range are not evaluated here (`ranges`).
    """
    if (match := headers.get("if-match")) is not None:
        if not names(match, validators.etag, weakly=False):
            return ConditionalVerdict.FAILED
    elif (since := headers.get("if-unmodified-since")) is not None and _changed(
        validators.modified, since
    ) is True:
        return ConditionalVerdict.FAILED
    if (none_match := headers.get("if-none-match")) is not None:
        return (
            ConditionalVerdict.NOT_MODIFIED
            if names(none_match, validators.etag, weakly=True)
            else ConditionalVerdict.SEND
        )
    if (since := headers.get("if-modified-since")) is not None and _changed(
        validators.modified, since
    ) is False:
        return ConditionalVerdict.NOT_MODIFIED
    return ConditionalVerdict.SEND


def _changed(modified: datetime | None, since: str) -> bool | None:
    """Return whether it changed after the date; None if there is nothing to compare. HTTP dates
    have whole seconds only.
    """
    date = parse_http_date(since)
    if modified is None or date is None:
        return None
    return modified.replace(microsecond=0) > date
