"""Bytes that do not fit into memory: `pypid.catalog.lines`."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.lines import Spill, SpilledBytes, SpillFile
from pypid.core.errors import Unreadable

LONGEST_FILE = 1000
KEYS = st.sampled_from("abcdefgh")


class SpillMachine(RuleBasedStateMachine):
    """What is held can be read, until a file is damaged; replaced bytes take no space for long."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.spill: Spill[str] = Spill(Path(self.folder.name), LONGEST_FILE)
        self.wanted: dict[str, tuple[bytes, SpilledBytes]] = {}
        self.dropped: list[tuple[bytes, SpilledBytes]] = []
        self.damaged: set[int] = set()

    @rule(key=KEYS, data=st.binary(min_size=1, max_size=600))
    def put(self, key: str, data: bytes) -> None:
        [spilled] = self.spill.write([data])
        self.spill.hold(key, spilled)
        if key in self.wanted:
            self.dropped.append(self.wanted[key])
        self.wanted[key] = data, spilled

    @rule(data=st.binary(min_size=1, max_size=600))
    def write_for_nothing(self, data: bytes) -> None:
        self.spill.write([data])

    @rule(key=KEYS)
    def drop(self, key: str) -> None:
        self.spill.drop(key)
        if key in self.wanted:
            self.dropped.append(self.wanted.pop(key))

    @rule()
    def compact(self) -> None:
        misplaced = self.spill.misplaced()
        readable = {
            key: spilled for key, spilled in misplaced.items() if id(spilled) not in self.damaged
        }
        for key in misplaced.keys() - readable.keys():
            self.spill.drop(key)
            del self.wanted[key]
        moved = self.spill.write([spilled.read() for spilled in readable.values()])
        for key, spilled in zip(readable, moved, strict=True):
            self.spill.hold(key, spilled)
            self.wanted[key] = self.wanted[key][0], spilled

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.wanted)))
        content, spilled = self.wanted[key]
        os.pwrite(spilled.file.descriptor, bytes([content[0] ^ 255]), spilled.start)
        self.damaged.add(id(spilled))

    @invariant()
    def can_be_read(self) -> None:
        for content, spilled in (*self.wanted.values(), *self.dropped):
            if id(spilled) in self.damaged:
                try:
                    found = spilled.read()
                except Unreadable:
                    continue
                raise AssertionError(found)
            assert spilled.read() == content

    @invariant()
    def is_bounded(self) -> None:
        used = sum(len(content) for content, _ in self.wanted.values())
        assert self.spill.used == used
        if not self.spill.misplaced():
            assert self.spill.size <= 2 * used + LONGEST_FILE + 600

    def teardown(self) -> None:
        self.folder.cleanup()


class SpillTests(SynchronousTestCase):
    """`Spill`."""

    def test_any_order(self) -> None:
        """Whatever is put, replaced, dropped, moved and damaged: see `SpillMachine`."""
        modest = settings(max_examples=50, stateful_step_count=30, deadline=None, database=None)
        run_state_machine_as_test(SpillMachine, settings=modest)


class SpillFileTests(SynchronousTestCase):
    """One file."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_private_and_without_a_name(self) -> None:
        """No other user can read it, and nothing is left in the folder."""
        file = SpillFile(self.folder)
        file.append(b"private")
        self.assertEqual(stat.S_IMODE(os.fstat(file.descriptor).st_mode), 0o600)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_closed_with_the_last_reference(self) -> None:
        """Bytes can be read after the spill has dropped them; then the descriptor is closed."""
        spill: Spill[str] = Spill(self.folder, 4)
        [spilled] = spill.write([b"12345"])
        spill.hold("a", spilled)
        spill.write([b"67890"])  # in the next file
        spill.drop("a")
        descriptor = spilled.file.descriptor
        self.assertEqual(spilled.read(), b"12345")
        del spilled
        self.assertRaises(OSError, os.fstat, descriptor)

    def test_short_file(self) -> None:
        """Missing bytes are an error, not shorter bytes."""
        file = SpillFile(self.folder)
        spilled = file.append(b"12345")
        os.ftruncate(file.descriptor, 3)
        self.assertRaises(Unreadable, spilled.read)
