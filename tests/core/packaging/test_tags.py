"""Where a file runs, in words."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.tags import Fit, abi_words, fit_of, platform_words, python_words


class FitTests(SynchronousTestCase):
    """Names of files."""

    def test_wheels(self) -> None:
        """A wheel's three tags are said in words, and several of one meaning once."""
        name = "spam-1.0-{}.whl"
        for tags, python, abi, platform in (
            ("py3-none-any", "Python 3", "", ""),
            ("py2.py3-none-any", "Python 2; Python 3", "", ""),
            (
                "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
                "CPython 3.11",
                "",
                "Linux (glibc 2.17 or newer), x86-64",
            ),
            ("cp39-abi3-win_amd64", "CPython 3.9 or newer", "stable ABI", "Windows, x86-64"),
            (
                "cp313-cp313t-macosx_11_0_arm64",
                "CPython 3.13",
                "free-threaded",
                "macOS 11.0 or newer, ARM64",
            ),
            (
                "pp310-pypy310_pp73-musllinux_1_2_aarch64",
                "PyPy 3.10",
                "pypy310_pp73",
                "Linux (musl 1.2 or newer), ARM64",
            ),
        ):
            self.assertEqual(fit_of(name.format(tags)), Fit("wheel", python, abi, platform), tags)
        self.assertEqual(fit_of("spam-1.0-1build-py3-none-any.whl").python, "Python 3")

    def test_platforms(self) -> None:
        """Each platform that the specification knows has words; what nobody knows is shown as it
        is.
        """
        for tag, words in (
            ("manylinux1_i686", "Linux (glibc 2.5 or newer), x86 (32 bit)"),
            ("linux_armv7l", "Linux, ARMv7"),
            ("macosx_10_9_universal2", "macOS 10.9 or newer, ARM64 and x86-64"),
            ("win32", "Windows, x86 (32 bit)"),
            ("ios_13_0_arm64_iphoneos", "iOS 13.0 or newer, ARM64"),
            ("ios_13_0_x86_64_iphonesimulator", "iOS 13.0 or newer, x86-64, simulator"),
            ("android_24_arm64_v8a", "Android, API 24 or newer, ARM64"),
            ("solaris_2_11", "solaris_2_11"),
            ("any", ""),
        ):
            self.assertEqual(platform_words(tag), words)
        self.assertEqual(python_words("graalpy311"), "GraalPy 3.11")
        self.assertEqual(python_words("whatever"), "whatever")
        self.assertEqual(abi_words("cp314td"), "free-threaded, debug")
        self.assertEqual(abi_words("cp36m"), "")

    @given(
        st.text(alphabet="spam-1.0_cpyanlinuxwhegtrz", max_size=60),
        st.sampled_from(["", ".whl", ".egg", ".tar.gz", "-py3-none-any.whl"]),
    )
    @settings(max_examples=200, deadline=None, database=None)
    def test_anything(self, name: str, suffix: str) -> None:
        """Every name is said something of."""
        self.assertIn(fit_of(name + suffix).kind, ("wheel", "sdist", "egg"))
