"""Who signed a file."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.provenance import (
    CircleCI,
    GitHub,
    GitLab,
    Google,
    Publisher,
    Signed,
    provenance_object,
)
from pypid.core.accounts.signers import Signer, signers_in

KEYS = st.sampled_from(["attestation_bundles", "publisher", "kind", "repository"])
JSON = st.recursive(
    st.none() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


def of(*publishers: Publisher) -> tuple[Signer, ...]:
    return signers_in(provenance_object([Signed(publisher, b"{}") for publisher in publishers]))


class SignersTests(SynchronousTestCase):
    """Out of provenance objects."""

    def test_kinds(self) -> None:
        """Each kind of publisher that pypid writes down is said in words; a repository leads to its
        forge.
        """
        self.assertEqual(
            of(GitHub("acme/spam", "release.yml")),
            (Signer("GitHub Actions", "acme/spam", "https://github.com/acme/spam", "release.yml"),),
        )
        self.assertEqual(
            of(GitLab("acme/deep/spam", ".gitlab-ci.yml")),
            (
                Signer(
                    "GitLab CI",
                    "acme/deep/spam",
                    "https://gitlab.com/acme/deep/spam",
                    ".gitlab-ci.yml",
                ),
            ),
        )
        self.assertEqual(
            of(Google("robot@acme.example")), (Signer("Google Cloud", "robot@acme.example"),)
        )
        self.assertEqual(of(CircleCI("123", "456")), (Signer("CircleCI", "123"),))
        self.assertEqual(len(of(Google("a@b.example"), GitHub("a/b", "c.yml"))), 2)

    @given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
    @settings(max_examples=150, deadline=None, database=None)
    def test_anything(self, data: bytes) -> None:
        """What is no provenance object names nobody."""
        self.assertIsInstance(signers_in(data), tuple)
