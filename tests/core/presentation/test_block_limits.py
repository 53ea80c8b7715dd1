"""What is said of copies that a block cannot revoke."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.presentation.block_limits import block_limits


class LimitsTests(SynchronousTestCase):
    """`block_limits`."""

    def texts(self, **storage: object) -> str:
        found = {"is_bucket": True, "is_versioned": False, "cdn": None, **storage}
        return " ".join(map(str, block_limits(**found)))  # type: ignore[arg-type]

    def test_plain_bucket(self) -> None:
        """In a bucket without versions and caches a block revokes everything."""
        self.assertEqual(self.texts(), "")

    def test_said(self) -> None:
        """Versions, caches and folders are named, and so is a bucket that does not tell."""
        self.assertIn("keeps former versions", self.texts(is_versioned=True))
        self.assertIn("s3:GetBucketVersioning", self.texts(is_versioned=None))
        self.assertIn("cdn.example.org", self.texts(cdn="cdn.example.org"))
        self.assertIn("another web server", self.texts(is_bucket=False, is_versioned=None))
