"""The allowed HTML of a README: the final filter, by nh3."""

from __future__ import annotations

import nh3
from pygments.token import STANDARD_TYPES

PREFIX = "readme-"
"""The prefix of each id and each class that is not Pygments': none of them is one of the page's
own.
"""
SCHEMES = ("http:", "https:", "mailto:")
_ADMONITIONS = {f"{PREFIX}{name}" for name in ("admonition", "warn", "bad")}
TOKENS = frozenset(name for name in STANDARD_TYPES.values() if name)
"""The classes of Pygments."""
TAGS = frozenset(
    (
        *(
            "a",
            "abbr",
            "b",
            "blockquote",
            "br",
            "caption",
            "cite",
            "code",
            "col",
            "colgroup",
            "dd",
            "del",
            "details",
            "div",
            "dl",
        ),
        *(
            "dt",
            "em",
            "figcaption",
            "figure",
            "h3",
            "h4",
            "h5",
            "h6",
            "hr",
            "i",
            "kbd",
            "li",
            "ol",
            "p",
            "pre",
            "span",
            "strong",
        ),
        *(
            "strong",
            "sub",
            "summary",
            "sup",
            "table",
            "tbody",
            "td",
            "th",
            "thead",
            "tr",
            "ul",
            "var",
        ),
    )
)
ATTRIBUTES = {
    "*": {"id"},
    "a": {"href", "title"},
    "abbr": {"title"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
}
_ALIGNED = {"align": {"left", "center", "right"}}
_SCROLLED = {"role": {"group"}, "tabindex": {"0"}, "aria-label": {"Table", "Code"}}
VALUES = {
    **dict.fromkeys(("p", "td", "h3", "h4", "h5", "h6"), _ALIGNED),
    "th": {**_ALIGNED, "scope": {"col", "row"}},
    "div": {**_ALIGNED, **_SCROLLED},
    "pre": _SCROLLED,
}
"""Attributes that have one of these values, or are removed."""
CLASSES = {
    "a": {f"{PREFIX}image"},
    "div": {f"{PREFIX}scroll", f"{PREFIX}footnote", f"{PREFIX}lines", *_ADMONITIONS},
    "p": {f"{PREFIX}title"},
    "span": {f"{PREFIX}image", f"{PREFIX}task", *TOKENS},
}


def clean(html: str) -> str:
    """Return the HTML with only what is listed here."""
    return nh3.clean(
        html,
        tags=set(TAGS),
        clean_content_tags={"script", "style"},
        attributes=ATTRIBUTES,
        attribute_filter=_filtered,
        tag_attribute_values=VALUES,
        allowed_classes=CLASSES,
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noopener",
    )


def _filtered(tag: str, attribute: str, value: str) -> str | None:
    match attribute:
        case "id":
            return value if value.startswith(PREFIX) else None
        case "href":
            return value if value.startswith((*SCHEMES, f"#{PREFIX}")) else None
        case "start" | "colspan" | "rowspan":
            return value if value.isascii() and value.isdigit() and len(value) < 4 else None
        case _:
            return value
