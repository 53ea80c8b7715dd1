"""What of a distribution can run code."""

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.archives.contents import LONGEST_PATH, Inner, MemberListing
from pypid.core.archives.hazards import (
    MOST_NAMED,
    Hazard,
    HazardKind,
    hazards_of,
    hazards_of_setup,
    setup_of,
)


def members(*paths: str) -> MemberListing:
    """Return a listing of members with these paths."""
    return MemberListing(tuple(Inner(path, 1) for path in paths), len(paths))


class Hazards(SynchronousTestCase):
    """The names of members, and the text of setup.py."""

    def test_kinds_of_members(self) -> None:
        found = hazards_of(
            members(
                "spam/__init__.py",
                "spam/_fast.cpython-311-x86_64-linux-gnu.so",
                "spam.libs/libgfortran-040039e1.so.5.0.0",
                "spam-init.pth",
                "spam-1.0.data/scripts/spam",
                "spam-1.0.dist-info/METADATA",
            )
        )
        self.assertEqual(
            found,
            (
                Hazard(
                    HazardKind.NATIVE,
                    2,
                    (
                        "spam/_fast.cpython-311-x86_64-linux-gnu.so",
                        "spam.libs/libgfortran-040039e1.so.5.0.0",
                    ),
                ),
                Hazard(HazardKind.STARTUP, 1, ("spam-init.pth",)),
                Hazard(HazardKind.SCRIPT, 1, ("spam-1.0.data/scripts/spam",)),
            ),
        )

    def test_a_customize_module_runs_at_every_start(self) -> None:
        kinds = [hazard.kind for hazard in hazards_of(members("sitecustomize.py"))]
        self.assertEqual(kinds, [HazardKind.STARTUP])

    def test_a_pure_wheel_has_none(self) -> None:
        self.assertEqual(hazards_of(members("spam/__init__.py", "spam/setup.py.txt")), ())

    def test_only_the_first_members_are_named(self) -> None:
        (hazard,) = hazards_of(members(*(f"spam/{number}.so" for number in range(5000))))
        self.assertEqual((hazard.count, len(hazard.names)), (5000, MOST_NAMED))

    def test_setup_of_an_sdist(self) -> None:
        found = setup_of(members("spam-1.0/a/setup.py", "spam-1.0/setup.py").members)
        self.assertEqual(found, Inner("spam-1.0/setup.py", 1))
        self.assertIsNone(setup_of(members("spam-1.0/pyproject.toml").members))

    def test_other_spellings_of_setup(self) -> None:
        """A path that is made simpler when the sdist is unpacked, or a second member of the name,
        does not hide it.
        """
        for path in ("./spam-1.0/setup.py", "spam-1.0//setup.py", "spam-1.0/./setup.py"):
            self.assertEqual([each.kind for each in hazards_of(members(path))], [HazardKind.SETUP])
        twice = members("spam-1.0/setup.py", "spam-1.0/a.py", "spam-1.0/setup.py\\#3")
        self.assertEqual(setup_of(twice.members), twice.members[2])
        began = time.thread_time()
        hazards_of(members("./" * 100_000, "/" * 100_000, "\\#1" * 100_000))
        self.assertLess(time.thread_time() - began, 1)

    def test_members_that_are_not_held(self) -> None:
        """An archive with more members than are looked at says so: its code may be among them."""
        listing = MemberListing(members("spam/__init__.py").members, 100_000)
        self.assertEqual(hazards_of(listing), (Hazard(HazardKind.UNREADABLE, 99_999),))
        cut = "a" * LONGEST_PATH + "\\#1"
        self.assertEqual(hazards_of(members(cut)), (Hazard(HazardKind.UNREADABLE, 1, (cut,)),))

    def test_text_of_setup(self) -> None:
        text = "import urllib.request, base64\nexec(base64.b64decode(x))\nos.system('id')\n"
        found = {hazard.kind: hazard.names for hazard in hazards_of_setup(text)}
        self.assertEqual(found[HazardKind.NETWORK], ("urllib",))
        self.assertEqual(found[HazardKind.EXECUTES], ("exec(", "b64decode", "os.system"))

    def test_plain_setup_has_none(self) -> None:
        self.assertEqual(hazards_of_setup("from setuptools import setup\nsetup(name='a')\n"), ())

    def test_time_is_linear_in_the_text(self) -> None:
        for text in ("exec" * 250_000, "os . " * 200_000, "exec " * 200_000, " " * 1_000_000):
            began = time.thread_time()
            hazards_of_setup(text)
            self.assertLess(time.thread_time() - began, 1)

    @given(st.text())
    def test_any_path_and_text_is_looked_at(self, text: str) -> None:
        hazards_of(members(text))
        hazards_of_setup(text)
