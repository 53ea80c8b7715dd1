"""Rendering a README, and making it harmless for a page. Runs in the child: its imports are large
and slow.
"""

from __future__ import annotations

from attrs import frozen
from readme_renderer import markdown, rst

from pypid.rendering.cleaning import adapt
from pypid.rendering.markup import MarkupKind


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
