"""Names of S3 buckets and regions, as permissive as any store."""

from __future__ import annotations

import re

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]\Z")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
BUCKET_RULE = (
    "3 or more letters, digits, '.', '-' or '_', a letter or digit first and last; no slash (that "
    "is the prefix)"
)


def is_bucket_name(text: str) -> bool:
    """Return whether some store may have a bucket of this name (AWS's rules are stricter now)."""
    return _BUCKET.match(text) is not None


def is_region_name(text: str) -> bool:
    """Return whether some store may have a region of this name."""
    return _REGION.match(text) is not None
