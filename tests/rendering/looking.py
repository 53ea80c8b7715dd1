"""What a README may have become, looked at by a parser that knows nothing of how it was made."""

from __future__ import annotations

from html.parser import HTMLParser

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
        ),
        *(
            "dl",
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
ATTRIBUTES = frozenset(
    (
        *(
            "id",
            "class",
            "href",
            "title",
            "rel",
            "align",
            "start",
            "colspan",
            "rowspan",
            "scope",
            "role",
            "tabindex",
        ),
        "aria-label",
    )
)


class Looked(HTMLParser):
    """All elements of some HTML, and what is wrong with it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        if len(set(self.ids)) != len(self.ids):
            self.wrong.append("an id comes twice")
        for link in self.links:
            if link.startswith("#") and not link.startswith("#readme-"):
                self.wrong.append(f"leads to the page: {link}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in TAGS:
            self.wrong.append(f"<{tag}>")
        for name, value in attrs:
            self._attribute(tag, name, value or "")

    def _attribute(self, tag: str, name: str, value: str) -> None:
        if name not in ATTRIBUTES:
            self.wrong.append(f"<{tag} {name}>")
        if name == "id":
            self.ids.append(value)
            if not value.startswith("readme-"):
                self.wrong.append(f"id {value}")
        elif name == "href":
            self.links.append(value)
            if tag != "a" or not value.startswith(("http://", "https://", "mailto:", "#readme-")):
                self.wrong.append(f"href {value}")
        elif name == "class" and any(
            len(each) > 3 and not each.startswith("readme-") for each in value.split()
        ):
            self.wrong.append(f"class {value}")
        elif name == "rel" and value != "nofollow noopener":
            self.wrong.append(f"rel {value}")

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.wrong.append("a comment")

    def handle_decl(self, decl: str) -> None:
        self.wrong.append("a declaration")

    def handle_pi(self, data: str) -> None:
        self.wrong.append("an instruction")
