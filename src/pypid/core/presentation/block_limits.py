"""What a block cannot revoke in a storage: copies that other servers give. The
answer of a new block says so.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class BlockLimit:
    """A way to the bytes of a blocked file that pypid does not control, and how to close it."""

    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.text}. {self.advice}"


_VERSIONS = BlockLimit(
    "The bucket keeps former versions: a URL that names a version still gives a blocked file",
    "Delete the former versions of the object, or allow only pypid to read versions.",
)
_UNKNOWN_VERSIONS = BlockLimit(
    "It is unknown whether the bucket keeps former versions of blocked files",
    "Allow s3:GetBucketVersioning on the bucket, so that pypid can tell.",
)
_FOLDER = BlockLimit(
    "If another web server serves the storage folder, it still serves blocked files",
    "Let clients fetch files through pypid only.",
)


def block_limits(
    *, is_bucket: bool, is_versioned: bool | None, cdn: str | None
) -> tuple[BlockLimit, ...]:
    """Return the limits of blocks in a storage. `is_versioned`: None if unknown; `cdn`: the domain
    of a content delivery network in front of the bucket.
    """
    if not is_bucket:
        return (_FOLDER,)
    found = []
    if is_versioned is None:
        found.append(_UNKNOWN_VERSIONS)
    elif is_versioned:
        found.append(_VERSIONS)
    if cdn is not None:
        found.append(
            BlockLimit(
                f"{cdn} gives cached copies of a blocked file until they expire there",
                "Invalidate the path of the file in the distribution.",
            )
        )
    return tuple(found)
