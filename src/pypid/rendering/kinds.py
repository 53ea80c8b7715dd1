"""What a README is written in, as its metadata say (Description-Content-Type of the core metadata specification)."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """What can be rendered; all else is shown as it is."""

    PLAIN = "plain"
    RST = "rst"
    GFM = "GFM"
    COMMONMARK = "CommonMark"


def kind_of(content_type: str | None) -> Kind:
    """``text/markdown; charset=UTF-8; variant=GFM`` and the like; text/x-rst where nothing is said.

    The charset is not asked: metadata are text by now, and the specification knows UTF-8 only. A variant of Markdown that
    nobody knows is GFM, which is what stands for none.
    """
    essence, *parameters = (content_type or "").split(";")
    given = dict(_parameter(each) for each in parameters)
    match essence.strip().lower():
        case "" | "text/x-rst":
            return Kind.RST
        case "text/markdown":
            return Kind.COMMONMARK if given.get("variant", "").lower() == "commonmark" else Kind.GFM
        case _:
            return Kind.PLAIN


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')
