"""What a block names."""

from __future__ import annotations

import contextlib
from time import thread_time

from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadRequest
from pypid.core.packaging.block_spec import LONGEST, BlockSpec, parse_block_spec

DIGEST = "aB" * 32
OPERATORS = st.sampled_from(["==", "!=", ">=", "<=", "<", ">", "~="])
VERSIONS = st.builds(
    "{}.{}{}".format, st.integers(0, 3), st.integers(0, 3), st.sampled_from(["", "rc1", ".post1"])
)


class BlockSpecTests(SynchronousTestCase):
    """Parsing, and what is included."""

    def test_forms(self) -> None:
        """Each form has one normal text."""
        for text, normal in {
            "Acme_Lib": "acme-lib",
            " acme == 1.2 ": "acme==1.2",
            "acme>=1 ,<2,": "acme>=1,<2",
            "acme<2,>=1": "acme<2,>=1",
            f"sha256:{DIGEST}": f"sha256:{DIGEST.lower()}",
            "acme!=1,!= 1": "acme!=1",
            "acme==1.*": "acme==1.*",
            "acme===odd": "acme===odd",
            "acme!=2": "acme!=2",
        }.items():
            spec = parse_block_spec(text)
            self.assertEqual(spec.text, normal)
            self.assertEqual(parse_block_spec(spec.text), spec)

    def test_refused(self) -> None:
        """Everything else is refused, with examples."""
        for text in (
            "", " ", "==1.2", "-acme", "acme 1.2", "acme=1.2", "acme==", "acme,", "acme[x]==1",
            "acme; python_version<'3'", "acme @ https://example.com/a.whl", "sha256:ab",
            f"sha256:{DIGEST}0", f"sha512:{DIGEST}", f"acme sha256:{DIGEST}", "acmé", "acme==1\n2",
            "a" * 201, "x" * (LONGEST + 1), "acme>=1," + ",".join(["!=1"] * 60), "acme\x00",
        ):  # fmt: skip
            with self.assertRaises(BadRequest, msg=text):
                parse_block_spec(text)

    @given(st.lists(st.tuples(OPERATORS, VERSIONS), min_size=1, max_size=3), VERSIONS)
    def test_versions_are_those_of_pep_440(self, clauses: list[tuple[str, str]], have: str) -> None:
        """A version is included as the specifier says, pre-releases too."""
        text = ",".join(map("".join, clauses))
        included = parse_block_spec(f"acme{text}").includes(have)
        self.assertEqual(included, Version(have) in SpecifierSet(text, prereleases=True))

    @given(st.text(max_size=300))
    def test_any_text(self, text: str) -> None:
        """Any text is a spec, or refused."""
        try:
            spec = parse_block_spec(text)
        except BadRequest:
            return
        self.assertIsInstance(spec, BlockSpec)
        self.assertTrue(spec.text.isascii())

    def test_linear(self) -> None:
        """Hostile text takes no longer than its length."""
        for text in ("a" * 10**6, "-" * LONGEST, "a" + "." * (LONGEST - 1), "a==" + "1." * 900,
                     "a" + ">=1," * 400, "a==1!" + "1" * 1900, "sha256:" + "0" * 1900):  # fmt: skip
            begun = thread_time()
            with contextlib.suppress(BadRequest):
                parse_block_spec(text)
            self.assertLess(thread_time() - begun, 0.2, text[:10])
