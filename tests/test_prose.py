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


class CeilingTests(SynchronousTestCase):
    """How many findings a page may have."""

    def test_complaints(self) -> None:
        """A page may not have more findings than its ceiling, and a new page none."""
        found = prose.complaints({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 1})
        self.assertEqual([each.partition(":")[0] for each in found], ["b", "c"])
