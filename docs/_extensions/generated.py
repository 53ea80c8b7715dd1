"""The base of directives that insert text which is made of declarations of the program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


class GeneratedText(SphinxDirective):
    """Inserts reStructuredText where the directive is."""

    has_content = False

    def text(self) -> Iterable[str]:
        """Return the text, in pieces of whole lines."""
        raise NotImplementedError

    def run(self) -> Sequence[nodes.Node]:
        """Put the text into the input of the parser, as ``include`` does."""
        self.env.note_reread()  # with each build: the program is not among the files of the documentation
        self.state_machine.insert_input("\n".join(self.text()).splitlines(), self.name)
        return []
