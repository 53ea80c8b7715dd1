"""What is inside a wheel or an egg: METADATA, and whether WHEEL, RECORD and the file name agree with it.

Source: "Binary distribution format" (packaging.python.org; PEP 427, PEP 491). Eggs: setuptools'
"The Internal Structure of Python Eggs".
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import BinaryIO

from pypid.core.coremetadata import LONGEST_METADATA
from pypid.core.errors import BadName, shortened
from pypid.core.members import Findings, Unusable
from pypid.core.names import Distribution, project_name, same_version
from pypid.core.zips import Entry, read_entry, read_zip

_LONGEST_WHEEL = 1 << 20
_LONGEST_RECORD = 64 << 20
_WHEEL_VERSION = re.compile(r"1(\.[0-9]+)?\Z")
_REBUILD = "build the wheel anew with a current build tool."


def wheel_metadata(file: BinaryIO, distribution: Distribution, findings: Findings) -> bytes | None:
    """The METADATA of a wheel, or None; problems to `findings`. Raises `Unusable`."""
    entries = read_zip(file, findings)
    infos = {name.split("/", 1)[0] for name in entries if name.split("/", 1)[0].endswith(".dist-info") and "/" in name}
    if len(infos) != 1:
        what = "no .dist-info folder" if not infos else "several .dist-info folders"
        findings.add(f"the wheel has {what}, where it needs one, named as the file is; {_REBUILD}")
        return None
    info = infos.pop()
    if not _is_named_for(info.removesuffix(".dist-info"), distribution):
        findings.add(f"the wheel's folder {shortened(info)!r} is not that of {distribution.filename}; do not rename wheels.")
    _judge_wheel(_member(file, entries, f"{info}/WHEEL", _LONGEST_WHEEL, findings), findings)
    _judge_record(_member(file, entries, f"{info}/RECORD", _LONGEST_RECORD, findings), entries, info, findings)
    return _member(file, entries, f"{info}/METADATA", LONGEST_METADATA, findings)


def egg_metadata(file: BinaryIO, findings: Findings) -> bytes | None:
    """The PKG-INFO of an egg, or None; problems to `findings`. Raises `Unusable`."""
    return _member(file, read_zip(file, findings), "EGG-INFO/PKG-INFO", LONGEST_METADATA, findings)


def _member(file: BinaryIO, entries: Mapping[str, Entry], name: str, limit: int, findings: Findings) -> bytes | None:
    if name not in entries:
        findings.add(f"the archive lacks {shortened(name)!r}; build it anew with a current build tool.")
        return None
    try:
        return read_entry(file, entries[name], limit)
    except Unusable as problem:
        findings.add(str(problem))
        return None


def _is_named_for(stem: str, distribution: Distribution) -> bool:
    name, _, version = stem.rpartition("-")
    try:
        project = project_name(name)
    except BadName:
        return False
    # Old tools escape the + of a local version as _.
    return project == distribution.project and any(
        same_version(spelled, distribution.version)
        for spelled in (version, version.replace("_", "+", 1), version.replace("_", "-"))
    )


def _judge_wheel(data: bytes | None, findings: Findings) -> None:
    """Installers must refuse another major Wheel-Version.

    The Tags are left alone: pip, uv and PyPI go by the file name only, and vendors rename ``linux_*`` wheels to ``manylinux_*``
    without touching WHEEL, so that to compare would refuse wheels that everybody can install.
    """
    if data is None:
        return
    from email.parser import BytesHeaderParser  # here, since no page needs it

    version = str(BytesHeaderParser().parsebytes(data).get("Wheel-Version", "")).strip()
    if not _WHEEL_VERSION.match(version):
        findings.add(
            f"the wheel's WHEEL file says Wheel-Version {shortened(version)!r}; installers know 1.x only. Please {_REBUILD}"
        )


def _judge_record(data: bytes | None, entries: Mapping[str, Entry], info: str, findings: Findings) -> None:
    """RECORD names every file and no other; PyPI refuses what differs since 2026. The hashes are left to installers."""
    if data is None:
        return
    import csv  # here, since no page needs it

    try:
        rows = csv.reader(io.StringIO(data.decode("utf-8"), newline=""))
        recorded = {row[0].removeprefix("./") for row in rows if row}
    except (UnicodeDecodeError, csv.Error):
        findings.add(f"the wheel's RECORD cannot be read as CSV in UTF-8; {_REBUILD}")
        return
    itself = f"{info}/RECORD"
    exempt = {itself, f"{itself}.jws", f"{itself}.p7s"}
    present = {name for name, entry in entries.items() if not entry.is_folder}
    for name in sorted(present - recorded - exempt)[:3]:
        findings.add(f"the wheel's RECORD does not name {shortened(name)!r}, which is in the wheel; {_REBUILD}")
    for name in sorted(name for name in recorded - present - exempt if not name.endswith("/"))[:3]:
        findings.add(f"the wheel's RECORD names {shortened(name)!r}, which is not in the wheel; {_REBUILD}")
