"""Imports of modules that a start does not need."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import gc
import sys
from pathlib import Path
from unittest import TestCase

from pypid.flow.imports import import_late

MODULE = "class Made:\n    pass\n"


class ImportTests(TestCase):
    """`import_late`."""

    def setUp(self) -> None:
        from tempfile import TemporaryDirectory

        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        sys.path.insert(0, folder.name)
        self.addCleanup(sys.path.remove, folder.name)
        self.folder = Path(folder.name)

    def module(self, name: str, text: str) -> None:
        """A module that can be imported."""
        (self.folder / f"{name}.py").write_text(text)
        self.addCleanup(sys.modules.pop, name, None)

    def test_objects_are_excluded_from_collection(self) -> None:
        """After an import no collection looks at the classes and functions of the module; a module
        that is there already changes nothing.
        """
        self.module("late_one", MODULE)
        self.module("late_two", MODULE)
        first = import_late("late_one", "late_two")
        young = {id(each) for each in gc.get_objects()}
        self.assertEqual(first.__name__, "late_one")
        self.assertNotIn(id(first.Made), young)
        self.assertNotIn(id(sys.modules["late_two"].Made), young)
        made = type("Made", (), {})
        self.assertIs(import_late("late_one"), first)
        self.assertIn(id(made), {id(each) for each in gc.get_objects()})

    def test_collection_goes_on_after_a_failed_import(self) -> None:
        """Garbage is collected as before, whatever the import raises."""
        self.module("late_broken", "raise OSError('no file')\n")
        self.assertTrue(gc.isenabled())
        with self.assertRaises(OSError):
            import_late("late_broken")
        self.assertTrue(gc.isenabled())
        gc.disable()
        self.addCleanup(gc.enable)
        self.module("late_other", MODULE)
        import_late("late_other")
        self.assertFalse(gc.isenabled())
