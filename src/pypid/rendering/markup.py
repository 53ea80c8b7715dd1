"""The markup of a README, by its metadata (Description-Content-Type of the core metadata
specification); and what pypid and the child that renders say to each other: a line of JSON each.
"""

from __future__ import annotations

from enum import Enum

import msgspec

LONGEST_ANSWER = 2 << 20
"""Bytes of an answer: of HTML, four times as much as the longest text that is rendered."""


class MarkupKind(Enum):
    """What can be rendered; all else is shown as it is."""

    PLAIN = "plain"
    RST = "rst"
    GFM = "GFM"
    COMMONMARK = "CommonMark"


def kind_of(content_type: str | None) -> MarkupKind:
    """Return the markup of ``text/markdown; charset=UTF-8; variant=GFM`` and the like; text/x-rst
    by default.

    The charset is ignored: metadata are text by now, and the specification knows UTF-8 only. An
    unknown variant of Markdown is GFM, which is the default.
    """
    essence, *parameters = (content_type or "").split(";")
    values = dict(_parameter(each) for each in parameters)
    match essence.strip().lower():
        case "" | "text/x-rst":
            return MarkupKind.RST
        case "text/markdown":
            return (
                MarkupKind.COMMONMARK
                if values.get("variant", "").lower() == "commonmark"
                else MarkupKind.GFM
            )
        case _:
            return MarkupKind.PLAIN


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


class RenderRequest(msgspec.Struct, frozen=True):
    """What pypid asks of the child."""

    number: int
    text: str
    kind: MarkupKind


class RenderAnswer(msgspec.Struct, frozen=True):
    """The child's answer to the request of this number; number 0: it is ready.

    `html` is None for what is to be shown as it is; `error` is the exception of a renderer that
    failed.
    """

    number: int
    html: str | None
    error: str | None = None


def line_of(message: RenderRequest | RenderAnswer) -> bytes:
    """Return the message as a line."""
    return msgspec.json.encode(message) + b"\n"
