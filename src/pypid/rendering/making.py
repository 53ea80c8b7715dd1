"""A README rendered, and made harmless for a page of ours. Runs in the child: what it imports is large, and slow to come."""

from __future__ import annotations

from readme_renderer import markdown, rst

from pypid.rendering.kinds import Kind
from pypid.rendering.taming import tamed


def made(text: str, kind: Kind) -> str | None:
    """Safe HTML; None where the text is no such thing, or says nothing: then it is shown as it is."""
    try:
        rendered = _rendered(text, kind)
        found = None if rendered is None else tamed(rendered)
    except MemoryError:
        raise
    except Exception:  # renderers meet texts that nobody has thought of, and any error is one more of these
        return None
    return found if found and not found.isspace() else None


def _rendered(text: str, kind: Kind) -> str | None:
    match kind:
        case Kind.RST:
            return rst.render(text)
        case Kind.GFM | Kind.COMMONMARK:
            return markdown.render(text, variant=kind.value)
        case Kind.PLAIN:
            return None
