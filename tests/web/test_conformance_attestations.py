"""Attestations over HTTP: published, on the page, fetched and verified (C31, C63, C79 of
docs/reference/conformance.rst).
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pypi_attestations import Provenance

from tests.distributions import wheel, wheel_filename
from tests.sigstores import SLSA, OwnSigstore, gitlab, statement
from tests.web.full_app import Answer, H, J, Part, Pypid, WholeCase, text
from tests.web.test_conformance_simple import Links
from tests.web.uploaders import Dist, twine_7, uv

OWN = OwnSigstore()
PUBLIC = "https://py.example"


class AttestationTests(WholeCase):
    """A pypid that trusts a Sigstore of our own, and is reached by https."""

    def setUp(self) -> None:
        """Make it, and a file with an attestation."""
        super().setUp()
        self.root = OWN.trusted_root(Path(self.mktemp()))
        self.pypid = Pypid(self.spool, public_url=PUBLIC, trusted_root=self.root)
        self.dist = Dist(wheel_filename(), wheel())
        self.signed = OWN.attestation(
            statement(self.dist.filename, sha256(self.dist.data).hexdigest())
        )

    def post(self, *attestations: object, make: Any = uv, pypid: Pypid | None = None) -> Answer:
        field: Part = text("attestations", json.dumps(attestations))
        sent = make(self.dist, field)
        kind = ("Content-Type", sent.content_type)
        return (pypid or self.pypid).ask(
            "POST", "/legacy/", kind, *sent.headers, body=sent.body, user="alice"
        )

    def provenance_url(self) -> str:
        url: str = self.pypid.file_on("spam", self.dist.filename)["provenance"]
        self.assertTrue(url.startswith(f"{PUBLIC}/integrity/"), url)
        return urlsplit(url).path

    def test_published(self) -> None:
        """Sent as uv sends them, or as twine does, they are on the page and can be had as valid
        provenance (C31, C63, C79).
        """
        for make in (uv, twine_7):
            self.pypid = Pypid(self.spool, public_url=PUBLIC, trusted_root=self.root)
            self.published(self.post(self.signed, make=make))
            answer = self.pypid.get(self.provenance_url())
            self.assertEqual(
                (answer.status, answer["content-type"]),
                (200, "application/vnd.pypi.integrity.v1+json"),
            )
            [bundle] = Provenance.model_validate_json(answer.body).attestation_bundles
            [attestation] = bundle.attestations
            self.assertEqual(attestation.statement["subject"][0]["name"], self.dist.filename)
            self.assertEqual(bundle.publisher.kind, "GitHub")

    def test_page(self) -> None:
        """JSON and HTML carry the same absolute https URL, which a tool can follow (C31)."""
        self.published(self.post(self.signed))
        url = self.pypid.file_on("spam", self.dist.filename)["provenance"]
        for kind in (H, "text/html"):
            link = Links(self.pypid.get("/simple/spam/", kind).text).by_text[self.dist.filename]
            self.assertEqual(link["data-provenance"], url)

    def test_only_https(self) -> None:
        """Without https no provenance is told, since clients may only trust a secure URL (C31); it
        can be had all the same.
        """
        self.pypid = Pypid(self.spool, trusted_root=self.root)
        self.published(self.post(self.signed))
        self.assertNotIn("provenance", self.pypid.file_on("spam", self.dist.filename))
        self.assertNotIn("data-provenance", self.pypid.get("/simple/spam/").text)
        self.assertEqual(
            self.pypid.get(f"/integrity/spam/1.0/{self.dist.filename}/provenance").status, 200
        )

    def test_negotiation(self) -> None:
        """The versioned type is preferred, plain JSON is had by asking, anything else
        is 406 (C31).
        """
        self.published(self.post(self.signed))
        for accept, kind in (
            (None, "application/vnd.pypi.integrity.v1+json"),
            ("*/*", "application/vnd.pypi.integrity.v1+json"),
            ("application/json", "application/json"),
            (
                "application/json, application/vnd.pypi.integrity.v1+json",
                "application/vnd.pypi.integrity.v1+json",
            ),
        ):
            self.assertEqual(self.pypid.get(self.provenance_url(), accept)["content-type"], kind)
        for accept in ("text/html", J):
            self.refused(self.pypid.get(self.provenance_url(), accept), 406, "integrity")

    def test_address(self) -> None:
        """Another release's or file's provenance is 404 (C31)."""
        self.published(self.post(self.signed))
        name = self.dist.filename
        for path in (
            f"spam/2.0/{name}",
            f"eggs/1.0/{name}",
            "spam/1.0/spam-1.0.tar.gz",
            f"spam/x/{name}",
            f"-/1.0/{name}",
        ):
            self.assertEqual(self.pypid.get(f"/integrity/{path}/provenance").status, 404, path)
        self.assertEqual(self.pypid.get(f"/integrity/spam/1.0.0/{name}/provenance").status, 200)

    def test_hidden(self) -> None:
        """What a quarantine or a deletion hides has no provenance either (C28, C31)."""
        self.published(self.post(self.signed))
        path = self.provenance_url()
        self.pypid.api("PUT", "/api/projects/spam/status", {"status": "quarantined"})
        self.assertEqual(self.pypid.get(path).status, 404)
        self.pypid.api("PUT", "/api/projects/spam/status", {"status": "active"})
        self.assertEqual(self.pypid.get(path).status, 200)
        self.pypid.api("DELETE", "/api/projects/spam")
        self.assertEqual(self.pypid.get(path).status, 404)
        self.assertEqual([key for key in self.keys() if "provenance" in key], [])

    def test_refused(self) -> None:
        """Forged, of another file, garbage or too many: 400, begun as clients know it, and nothing
        is stored (C79).
        """
        digest = sha256(self.dist.data).hexdigest()
        stranger = OwnSigstore().attestation(statement(self.dist.filename, digest))
        other_file = OWN.attestation(statement("spam-2.0-py3-none-any.whl", digest))
        other_bytes = OWN.attestation(statement(self.dist.filename, "0" * 64))
        for bad in (
            (stranger,),
            (other_file,),
            (other_bytes,),
            (self.signed, stranger),
            ({},),
            (1,),
            (self.signed,) * 50,
        ):
            answer = self.post(*bad)
            self.refused(answer, 400, "attestation")
        self.assertEqual((self.keys(), self.incoming(), self.pypid.names()), ([], [], []))
        self.assertTrue(
            self.post(stranger).reason.startswith("Invalid attestations supplied during upload")
        )

    def test_two(self) -> None:
        """Two attestations by two publishers are both there (C79)."""
        other = OWN.attestation(
            statement(self.dist.filename, sha256(self.dist.data).hexdigest(), SLSA), gitlab()
        )
        self.published(self.post(self.signed, other))
        bundles = Provenance.model_validate_json(
            self.pypid.get(self.provenance_url()).body
        ).attestation_bundles
        self.assertEqual([bundle.publisher.kind for bundle in bundles], ["GitHub", "GitLab"])
