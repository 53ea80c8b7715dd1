"""The markup of a README, by its metadata (Description-Content-Type of the core metadata
specification).
"""

from __future__ import annotations

from enum import Enum


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
