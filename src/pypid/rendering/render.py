"""Rendering a README, and making it harmless for a page. Runs in the child: its imports are large
and slow.

Rendered HTML is adapted to a page of pypid: no images, no dead links, headings below the page's
own. nh3 is the final filter of what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import nh3
from attrs import frozen
from pygments.token import STANDARD_TYPES
from readme_renderer import markdown, rst

from pypid.rendering.markup import MarkupKind

PREFIX = "readme-"
"""The prefix of ids and of classes that are not Pygments': none is the page's own."""
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


BELOW = 2
"""The level of the heading above the README."""
SHORT = 30
"""Characters of a line that fit on a phone."""
THEIR_PREFIX = "user-content-"
"""The prefix that readme_renderer puts before ids."""
VOID = frozenset({"br", "col", "hr", "img", "input"})
HEADINGS = frozenset(f"h{level}" for level in range(1, 7))
OTHERS = {
    "section": "div",
    "aside": "div",
    "nav": "div",
    "tt": "code",
    "acronym": "abbr",
    "picture": "span",
}
"""Replacements for landmarks, which are the page's own, and for obsolete elements."""
LITERAL = frozenset({"literal", "math"})
"""Classes of docutils' spans with literal text."""
PARENTS = {"li": {"ul", "ol"}, "dt": {"dl"}, "dd": {"dl"}}
KINDS = {
    **dict.fromkeys(("warning", "caution", "attention"), f"{PREFIX}warn"),
    **dict.fromkeys(("danger", "error"), f"{PREFIX}bad"),
}
SAME = {
    "admonition-title": f"{PREFIX}title",
    "topic-title": f"{PREFIX}title",
    "footnote": f"{PREFIX}footnote",
    "line-block": f"{PREFIX}lines",
}


def adapt(html: str) -> str:
    """Return HTML for a page, below a heading of level 2. Raises what `HTMLParser` does."""
    adapter = _Adapter()
    adapter.feed(html)
    adapter.close()
    return clean(adapter.finish())


@frozen(eq=False)
class _Open:
    """An open element: its original tag, its new one (empty: none), and the output before it."""

    was: str
    tag: str
    at: int
    visible: int
    target: str | None = None
    """The id that it links to, within the README."""
    after: str = ""
    """The end tag of its wrapper."""


class _Adapter(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._stack: list[_Open] = []
        self._depths: dict[str, int] = {}
        """The number of open elements by tag."""
        self._levels: list[int] = []
        """The levels of the headings that the next one may be below."""
        self._ids: set[str] = set()
        self._inward: list[tuple[int, int, str]] = []
        """The beginning and end of links within the README, and the ids that they lead to."""
        self._visible = 0
        """The number of visible characters."""
        self._code: list[str] = []
        """The text of the open pre."""

    def finish(self) -> str:
        """Return the whole output."""
        while self._stack:
            self._close(self._stack.pop())
        for begin, end, target in self._inward:
            if target not in self._ids:
                self._out[begin], self._out[end] = f"<span{_only_id(self._out[begin])}>", "</span>"
        return "".join(self._out)

    # --- what the parser calls ---

    def handle_data(self, data: str) -> None:
        self._visible += len(data) - data.count(" ") - data.count("\n")
        if self._is_in("pre"):
            self._code.append(data)
        self._out.append(escape(data, quote=False))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        match tag:
            case "img":
                self._image(values)
            case "input":
                self._task(values)
            case _ if tag in VOID:
                self._out.append(f"<{tag}>")
            case _:
                self._open(tag, values)

    def handle_endtag(self, tag: str) -> None:
        if self._is_in(tag):
            while self._stack:
                element = self._stack.pop()
                self._close(element)
                if element.was == tag:
                    return

    # --- elements ---

    def _is_in(self, tag: str) -> bool:
        return self._depths.get(tag, 0) > 0

    def _open(self, tag: str, values: Mapping[str, str]) -> None:
        written, before, after, target = OTHERS.get(tag, tag), "", "", None
        attributes = {
            name: values[name]
            for name in ("align", "start", "colspan", "rowspan", "title")
            if name in values
        }
        if name := self._id(values.get("id", "")):
            attributes["id"] = name
        if classes := self._classes(tag, values.get("class", "")):
            attributes["class"] = classes
        if tag in HEADINGS:
            written = self._heading(int(tag[1]))
        elif tag == "a":
            written, target = self._link(attributes, values.get("href", ""))
        elif tag == "table" and not self._is_in("table"):
            before = f'<div class="{PREFIX}scroll" role="group" tabindex="0" aria-label="Table">'
            after = "</div>"
        elif tag == "th" and self._is_in("thead"):
            attributes["scope"] = "col"
        elif tag == "pre" and not self._is_in("pre"):
            self._code.clear()
        elif tag == "span" and LITERAL & set(values.get("class", "").split()):
            written = "code"
        elif tag in PARENTS and (not self._stack or self._stack[-1].tag not in PARENTS[tag]):
            written = "div"  # an item without a list
        self._stack.append(_Open(tag, written, len(self._out), self._visible, target, after))
        self._depths[tag] = self._depths.get(tag, 0) + 1
        self._out.append(before + _started(written, attributes))

    def _close(self, element: _Open) -> None:
        self._depths[element.was] -= 1
        is_empty = self._visible == element.visible
        start = self._out[element.at]
        if is_empty and (
            element.was == "a" or element.was in HEADINGS
        ):  # nothing that could be read out
            name = _only_id(start)
            self._out[element.at] = f"<span{name}>" if name else ""  # links to it still work
            self._out.append("</span>" if name else "")
            return
        written = element.tag
        if is_empty and element.was == "th":
            written, self._out[element.at] = "td", start.replace("<th", "<td", 1)
        if element.was == "pre" and not self._is_in("pre") and _is_wide("".join(self._code)):
            self._out[element.at] = start.replace(
                "<pre", '<pre role="group" tabindex="0" aria-label="Code"', 1
            )
        if element.target is not None:
            self._inward.append((element.at, len(self._out), element.target))
        self._out.append(f"</{written}>{element.after}")

    def _heading(self, level: int) -> str:
        """Return a heading one below the last higher one: no level is left out."""
        while self._levels and self._levels[-1] >= level:
            self._levels.pop()
        self._levels.append(level)
        return f"h{min(BELOW + len(self._levels), 6)}"

    def _link(self, attributes: dict[str, str], href: str) -> tuple[str, str | None]:
        """Complete a link's attributes; return its tag, and the id in the README it leads to."""
        if href.startswith("#") and len(href) > 1:
            name = href[1:].removeprefix(THEIR_PREFIX)
            attributes["href"] = f"#{PREFIX}{name}"
            return "a", PREFIX + unquote(name)
        if _leads_out(href, SCHEMES):
            attributes["href"] = href
            return "a", None
        attributes.pop("title", None)  # it leads to a file beside the README, or nowhere
        return "span", None

    def _id(self, name: str) -> str | None:
        """Return the id for its first use, prefixed so as not to be the page's; else None."""
        name = PREFIX + name.removeprefix(THEIR_PREFIX)
        if (
            name == PREFIX
            or name in self._ids
            or len(name) > 200
            or any(each.isspace() for each in name)
        ):
            return None
        self._ids.add(name)
        return name

    def _classes(self, tag: str, text: str) -> str:
        """Return the allowed classes, none of the page's own: a README that looks like a part of
        pypid could ask for a password.
        """
        names = text.split()
        if tag == "span":
            inside = self._is_in("pre") or self._is_in("code")
            return " ".join(name for name in names if name in TOKENS) if inside else ""
        found = [SAME[name] for name in names if name in SAME]
        if "admonition" in names:
            found += [f"{PREFIX}admonition", *(KINDS[name] for name in names if name in KINDS)]
        return " ".join(found)

    def _image(self, values: Mapping[str, str]) -> None:
        """Write an image's text; it is never shown: its host would see who visits, and when."""
        alt, source = values.get("alt", "").strip(), values.get("src", "")
        leads = _leads_out(source, ("http:", "https:"))
        if not alt and not leads and not self._is_in("a"):
            return
        words = escape(alt or "image")
        self._visible += len(words)
        if leads and not self._is_in("a"):
            self._out.append(f'<a class="{PREFIX}image" href="{escape(source)}">{words}</a>')
        else:
            self._out.append(f'<span class="{PREFIX}image">{words}</span>')

    def _task(self, values: Mapping[str, str]) -> None:
        """Write a checkbox as a character, which is read out and needs no label."""
        if values.get("type", "").lower() == "checkbox":
            self._out.append(
                f'<span class="{PREFIX}task">{"☑" if "checked" in values else "☐"}</span>'
            )


def _started(tag: str, attributes: Mapping[str, str]) -> str:
    written = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{written}>"


def _only_id(start: str) -> str:
    """Return the id attribute of a tag that was written here."""
    _, found, rest = start.partition(' id="')
    return f'{found}{rest.partition(chr(34))[0]}"' if found else ""


def _leads_out(address: str, schemes: tuple[str, ...]) -> bool:
    try:
        url = urlsplit(address)
    except ValueError:
        return False
    if f"{url.scheme}:" not in schemes:
        return False
    return bool(url.netloc) if url.scheme != "mailto" else bool(url.path)


def _is_wide(code: str) -> bool:
    return any(len(line) > SHORT or not line.isascii() for line in code.split("\n"))


@frozen
class RenderOutcome:
    """The outcome of rendering one README.

    `html`: safe HTML, or None if the text is not valid markup or renders to nothing; its source is
    shown then. `error`: the exception that a renderer raised, for the log; None if there was none.
    """

    html: str | None
    error: str | None = None


def render(text: str, kind: MarkupKind) -> RenderOutcome:
    """Render a README to safe HTML. Raises `MemoryError` and nothing else."""
    try:
        rendered = _rendered(text, kind)
        found = None if rendered is None else adapt(rendered)
    except MemoryError:
        raise
    except Exception as error:  # a renderer may fail in any way on untested text
        return RenderOutcome(None, f"{type(error).__name__}: {error}"[:500])
    return RenderOutcome(found if found and not found.isspace() else None)


def _rendered(text: str, kind: MarkupKind) -> str | None:
    match kind:
        case MarkupKind.RST:
            return rst.render(text)
        case MarkupKind.GFM | MarkupKind.COMMONMARK:
            return markdown.render(text, variant=kind.value)
        case MarkupKind.PLAIN:
            return None
