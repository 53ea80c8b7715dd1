"""Tests of `pypid.core.accounts.provenance`: the identity in a certificate, in the words of a
provenance object.
"""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.provenance import (
    CertificateClaim,
    CircleCI,
    GitHub,
    GitLab,
    Google,
    Publisher,
    Signed,
    provenance_object,
    publisher_of,
)
from tests.sigstores import FULCIO, Identity, circleci, github, gitlab, google


def named(identity: Identity, email: str | None = None, without: int = 0) -> Publisher | None:
    """The publisher of an identity, with one of its claims left out."""
    numbers = {claim: int(claim.value.removeprefix(FULCIO)) for claim in CertificateClaim}
    said = {
        claim: identity.claims[n]
        for claim, n in numbers.items()
        if n in identity.claims and n != without
    }
    return publisher_of(said, email)


class PublisherTests(SynchronousTestCase):
    def test_all_kinds(self) -> None:
        """The four kinds that clients know are named."""
        self.assertEqual(named(github()), GitHub("monty/spam", "release.yml"))
        self.assertEqual(named(gitlab()), GitLab("monty/python/spam", "ci/release.yml"))
        self.assertEqual(named(google(), "a@b.iam"), Google("a@b.iam"))
        self.assertEqual(
            named(circleci()),
            CircleCI("11-22", "33-44", "github.com/monty/spam", "refs/heads/main"),
        )

    def test_nobody(self) -> None:
        """An identity that would not be verified again by clients under its name has none."""
        base = "https://github.com/monty/spam/.github/workflows/release.yml"
        other = "https://github.com/evil/spam/.github/workflows/release.yml@refs/tags/v1.0"
        for config in ("", base, base + "@refs/tags/v2.0", base.replace(".yml", "") + "@", other):
            self.assertIsNone(named(github(c18=config)), config)
        self.assertIsNone(
            named(github(c8="https://token.actions.githubusercontent.com/enterprise"))
        )
        self.assertIsNone(named(github(c12="https://github.example/monty/spam")))
        for claim in (8, 12, 18):
            self.assertIsNone(named(github(), without=claim))
        for claim in (8, 12, 13, 14, 18):
            self.assertIsNone(named(gitlab(), without=claim))
        self.assertIsNone(named(circleci(), without=9))
        self.assertIsNone(named(google()))
        self.assertIsNone(publisher_of({}, "somebody@example.com"))

    texts = st.text(max_size=5) | st.sampled_from(
        [*github().claims.values(), *gitlab().claims.values(), "@", "refs/tags/v1.0"]
    )

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.dictionaries(st.sampled_from(CertificateClaim), texts))
    def test_any_claims(self, claims: dict[CertificateClaim, str]) -> None:
        """Whatever a certificate says, a job that is named is the one whose workflow the
        certificate names.
        """
        said = {CertificateClaim.ISSUER: github().claims[8], **claims}
        publisher = publisher_of(said, None)
        if isinstance(publisher, GitHub):
            config = (
                f"https://github.com/{publisher.repository}/.github/workflows/{publisher.workflow}@"
            )
            self.assertTrue(said[CertificateClaim.BUILD_CONFIG_URI].startswith(config))
            self.assertEqual(
                said[CertificateClaim.SOURCE_REPOSITORY_URI],
                f"https://github.com/{publisher.repository}",
            )

    def test_bundles(self) -> None:
        """There is one bundle for each publisher, in the order in which they came."""
        one, two = GitHub("monty/spam", "release.yml"), Google("a@b.iam")
        made = json.loads(
            provenance_object(
                [Signed(one, b'{"n":1}'), Signed(two, b'{"n":2}'), Signed(one, b'{"n":3}')]
            )
        )
        self.assertEqual(
            made,
            {
                "version": 1,
                "attestation_bundles": [
                    {
                        "publisher": {
                            "kind": "GitHub",
                            "repository": "monty/spam",
                            "workflow": "release.yml",
                            "environment": None,
                        },
                        "attestations": [{"n": 1}, {"n": 3}],
                    },
                    {
                        "publisher": {"kind": "Google", "email": "a@b.iam"},
                        "attestations": [{"n": 2}],
                    },
                ],
            },
        )
