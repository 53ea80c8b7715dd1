"""Attestations (PEP 740) as they come with an upload: their structure only. Who signed what is verified elsewhere."""

from __future__ import annotations

from typing import Literal

import msgspec
from attrs import field, frozen

from pypid.core.errors import shortened

MOST_ATTESTATIONS = 16
"""For one file; PyPI takes two (publish and SLSA provenance)."""


class _VerificationMaterial(msgspec.Struct):
    certificate: str
    transparency_entries: list[dict[str, msgspec.Raw]]


class _Envelope(msgspec.Struct):
    statement: str
    signature: str


class _Attestation(msgspec.Struct):
    """PEP 740, "Attestation objects"."""

    version: Literal[1]
    verification_material: _VerificationMaterial
    envelope: _Envelope


@frozen
class Attestations:
    """The attestation `objects` of an upload, each the exact JSON that came, or the `problems` with them."""

    objects: tuple[bytes, ...] = field(default=(), repr=False)
    problems: tuple[str, ...] = ()


def read_attestations(text: str | None) -> Attestations:
    """Read the form field ``attestations``: a JSON array of attestation objects. Never raises; None has none."""
    if text is None:
        return Attestations()
    try:
        objects = msgspec.json.decode(text, type=list[msgspec.Raw])
        for one in objects:
            msgspec.json.decode(one, type=_Attestation)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        reason = shortened(str(error))
        return Attestations((), (f"attestations is not a JSON array of PEP 740 attestation objects: {reason}",))
    if len(objects) > MOST_ATTESTATIONS:
        return Attestations((), (f"attestations has {len(objects)} objects; {MOST_ATTESTATIONS} are allowed for a file.",))
    return Attestations(tuple(bytes(one) for one in objects))
