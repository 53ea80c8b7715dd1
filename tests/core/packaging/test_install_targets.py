"""Platforms and Pythons: which wheel fits where, and what markers say there."""

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.markers import Marker
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadRequest
from pypid.core.model import File
from pypid.core.packaging.names import project_name
from pypid.core.packaging.requirements import (
    MOST_TARGETS,
    PLATFORMS,
    best,
    needs_build,
    target,
    targets,
)

CHECKED = settings(max_examples=30, deadline=None, database=None)
WHEELS = st.sampled_from(
    [
        "spam-1.0-py3-none-any.whl",
        "spam-1.0-1-py3-none-any.whl",
        "spam-1.0-10b-py3-none-any.whl",
        "spam-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "spam-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "spam-1.0-cp312-cp312-manylinux_2_34_x86_64.whl",
        "spam-1.0-cp39-abi3-manylinux_2_17_aarch64.whl",
        "spam-1.0-cp312-cp312-musllinux_1_2_x86_64.whl",
        "spam-1.0-cp312-cp312-macosx_11_0_arm64.whl",
        "spam-1.0-cp313-cp313-macosx_14_0_arm64.whl",
        "spam-1.0-cp312-cp312-win_amd64.whl",
        "spam-1.0-cp312-cp312-win32.whl",
        "spam-1.0.tar.gz",
        "spam-1.0.zip",
        "spam-1.0-py3.12.egg",
    ]
)


def files(*names: str) -> list[File]:
    return [
        File(project=project_name("spam"), filename=name, version="1.0", sha256=None, size=None)
        for name in names
    ]


class BestTests(SynchronousTestCase):
    def chosen(self, platform: str, python: str, *names: str) -> str | None:
        file = best(files(*names), target(platform, python))
        return None if file is None else file.filename

    def test_chosen(self) -> None:
        """The most specific wheel that runs there; without one the sdist; else nothing."""
        pure, sdist = "spam-1.0-py3-none-any.whl", "spam-1.0.tar.gz"
        old, new = (
            "spam-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
            "spam-1.0-cp312-cp312-manylinux_2_34_x86_64.whl",
        )
        mac, late = (
            "spam-1.0-cp312-cp312-macosx_11_0_arm64.whl",
            "spam-1.0-cp312-cp312-macosx_14_0_arm64.whl",
        )
        every = (
            pure,
            sdist,
            old,
            new,
            mac,
            late,
            "spam-1.0-cp312-cp312-win_amd64.whl",
            "spam-1.0-cp310-abi3-win32.whl",
        )
        for platform, python, expected in (
            ("linux", "3.12", old),
            ("x86_64-manylinux_2_34", "3.12.4", new),
            ("x86_64-manylinux2014", "3.12", old),
            ("linux", "3.13", pure),
            ("aarch64-unknown-linux-gnu", "3.12", pure),
            ("macos", "3.12", mac),
            ("x86_64-apple-darwin", "3.12", pure),
            ("windows", "3.12", "spam-1.0-cp312-cp312-win_amd64.whl"),
            ("i686-pc-windows-msvc", "3.12", "spam-1.0-cp310-abi3-win32.whl"),
        ):
            self.assertEqual(self.chosen(platform, python, *every), expected, (platform, python))
        self.assertEqual(self.chosen("linux", "3.12", late, "spam-1.0.zip", sdist), sdist)
        self.assertIsNone(self.chosen("linux", "3.12", late, "spam-1.0-py3.12.egg", "spam-1.0.exe"))
        self.assertIsNone(self.chosen("linux", "3.12"))

    @CHECKED
    @given(
        st.lists(WHEELS, unique=True),
        st.sampled_from(sorted(PLATFORMS)),
        st.sampled_from(["3.8", "3.12", "3.13"]),
    )
    def test_order_does_not_matter(self, names: list[str], platform: str, python: str) -> None:
        """The choice is one of the files, the same in any order, and never an sdist where a wheel
        fits.
        """
        one, other = (
            self.chosen(platform, python, *names),
            self.chosen(platform, python, *reversed(names)),
        )
        self.assertEqual(one, other)
        if one is not None:
            self.assertIn(one, names)
            pure = [name for name in names if name.endswith("py3-none-any.whl")]
            self.assertFalse(pure and needs_build(files(one)[0]))


class TargetTests(SynchronousTestCase):
    def test_markers(self) -> None:
        """Markers see the platform and the Python."""
        for platform, python, marker in (
            (
                "linux",
                "3.12",
                (
                    "sys_platform == 'linux' and python_full_version == '3.12.0' and "
                    "platform_machine == 'x86_64'"
                ),
            ),
            (
                "windows",
                "3.11.4",
                "os_name == 'nt' and python_version == '3.11' and python_full_version >= '3.11.4'",
            ),
            (
                "macos",
                "3.9",
                (
                    "platform_system == 'Darwin' and platform_machine == 'arm64' and "
                    "implementation_name == 'cpython'"
                ),
            ),
        ):
            self.assertTrue(
                Marker(marker).evaluate({**target(platform, python).environment, "extra": ""}),
                marker,
            )

    def test_refused(self) -> None:
        """What is not known is refused, with what is; so is too much."""
        for platform, python in (
            ("beos", "3.12"),
            ("linux", "2.7"),
            ("linux", "3.12; x"),
            ("linux", "3.6"),
            ("--help", "3.12"),
        ):
            self.assertRaises(BadRequest, target, platform, python)
        self.assertRaises(
            BadRequest,
            targets,
            ["linux"],
            [f"3.{minor}" for minor in range(8, 9 + MOST_TARGETS)],
            running="3.12",
        )
