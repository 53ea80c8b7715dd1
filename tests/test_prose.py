"""The check of plain language, on small texts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests import prose


class ProseTests(SynchronousTestCase):
    """The findings in a page."""

    def found(self, text: str) -> list[str]:
        """Return the findings as ``line: word``."""
        return [f"{each.line}: {each.text.partition(':')[0]}" for each in prose.findings(text)]

    def test_words(self) -> None:
        """A listed word is found, also over the end of a line; parts of words are not."""
        text = "Title\n=====\n\nFiles lie\nin a folder. Nobody sees it.\nThe anybodys.\n"
        self.assertEqual(self.found(text), ["4: 'lie in'", "5: 'Nobody'"])

    def test_code_is_no_prose(self) -> None:
        """Literals, code blocks, options of directives, comments and link targets are not read."""
        text = """\
A list: ``nobody`` and :doc:`nobody </x>` and `somebody <https://x.example/nobody>`_::

    nobody

    whoever

.. code-block:: ini
   :caption: anew

   nobody

.. comment anew
.. _nobody: https://x.example/anew
"""
        self.assertEqual(self.found(text), ["1: 'nobody'", "1: 'somebody'"])

    def test_prose_in_directives(self) -> None:
        """The text of a note and the cells of a table are read."""
        text = ".. note::\n\n   Do it anew.\n\n.. list-table::\n   :widths: 1 2\n\n   * - anew\n"
        self.assertEqual(self.found(text), ["3: 'anew'", "8: 'anew'"])

    def test_clauses(self) -> None:
        """A sentence must not begin with a clause; a question may."""
        text = (
            "A page. What is not local is cached.\n\nWhat is pypid?\n\nWho may read it\n------\n\n"
            "What follows:\n\n* An item.\n"
        )
        self.assertEqual(self.found(text), ["1: 'What is not local is cached.' ..."])

    def test_long_sentences(self) -> None:
        """A sentence has at most 40 words; items of a list are sentences of their own."""
        short = "word " * prose.LONGEST
        self.assertEqual(self.found(f"{short}.\n\n* {short}\n* {short}\n"), [])
        self.assertEqual(
            self.found(f"Short.\n\nOne {short}.\n"), ["3: 'One word word word word word' ..."]
        )

    def test_tables(self) -> None:
        """The rows of a simple table are no sentence."""
        rows = "one two three  four five six\n" * 20
        self.assertEqual(self.found(f"===  ===\n{rows}===  ===\n"), [])

    def test_proselint(self) -> None:
        """The public style's checks run, and name the line."""
        found = prose.findings("First.\n\nSecond line. At the end of the day, it works.\n")
        self.assertEqual({(each.line, "(proselint)" in each.text) for each in found}, {(3, True)})

    def test_positions_after_masked_code(self) -> None:
        """A literal over two lines does not move what follows."""
        self.assertEqual(self.found("A ``b\nc`` d.\n\nIt is anew.\n"), ["4: 'anew'"])


class MessageTests(SynchronousTestCase):
    """The findings in files of the program."""

    def found(self, text: str, suffix: str) -> list[str]:
        """Return the findings as ``line: word``."""
        return [
            f"{each.line}: {each.text.partition(':')[0]}" for each in prose.findings(text, suffix)
        ]

    def test_strings(self) -> None:
        """Strings of a module are read, also those with inserted values; docstrings, values of
        keys and texts for a database are not.
        """
        text = (
            '"""Nobody reads this."""\nX = ("nobody", "named-ours")\nY = "SELECT ours, a FROM b"\n'
            'raise ValueError(\n    f"the user {x!r} stands in "\n    "the configuration"\n)\n'
        )
        self.assertEqual(self.found(text, ".py"), ["5: 'stands in'"])

    def test_templates(self) -> None:
        """The text of a template is read, its code and markup are not."""
        text = '{# anew #}{% if anew %}\n<p class="anew">It is <b>made</b> anew.</p>\n{{ anew }}'
        self.assertEqual(self.found(text, ".html"), ["2: 'anew'"])

    def test_comments(self) -> None:
        """Comments of a configuration are read, its values are not."""
        self.assertEqual(
            self.found("read = nobody   ; everyone | nobody\n# made\n# anew\n", ".ini"),
            ["3: 'anew'"],
        )


class CeilingTests(SynchronousTestCase):
    """How many findings a page may have."""

    def test_complaints(self) -> None:
        """A page may not have more findings than its ceiling, and a new page none."""
        found = prose.complaints({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 1})
        self.assertEqual([each.partition(":")[0] for each in found], ["b", "c"])
