"""Wheels, sdists and eggs, built in memory: the bytes that tests publish, serve and take apart.

Equal arguments give equal bytes (fixed times), so that a digest may be compared between runs.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from gzip import GzipFile
from hashlib import sha256

WHEN = (2024, 1, 1, 0, 0, 0)
WHEN_UNIX = 1704067200


def metadata(
    name: str = "spam",
    version: str = "1.0",
    *,
    metadata_version: str = "2.1",
    requires_python: str | None = None,
    summary: str | None = "Lovely spam",
    extra: Sequence[tuple[str, str]] = (),
    description: str = "",
) -> bytes:
    """The text of a METADATA or PKG-INFO file; `extra` are further header lines
    (``("Requires-Dist", "eggs")``).
    """
    lines = [("Metadata-Version", metadata_version), ("Name", name), ("Version", version)]
    if summary is not None:
        lines.append(("Summary", summary))
    if requires_python is not None:
        lines.append(("Requires-Python", requires_python))
    text = "".join(f"{key}: {value}\n" for key, value in [*lines, *extra])
    return (text + (f"\n{description}" if description else "")).encode()


def wheel_filename(
    name: str = "spam", version: str = "1.0", *, tag: str = "py3-none-any", build: str = ""
) -> str:
    """The file name that `wheel` of the same arguments belongs under."""
    parts = [name.replace("-", "_"), version, *([build] if build else []), tag]
    return "-".join(parts) + ".whl"


def wheel(
    name: str = "spam",
    version: str = "1.0",
    *,
    tag: str = "py3-none-any",
    requires_python: str | None = None,
    metadata_bytes: bytes | None = None,
    extra: Sequence[tuple[str, str]] = (),
    files: Mapping[str, bytes] | None = None,
    compression: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """A correct wheel with METADATA, WHEEL and RECORD; `files` are its contents (a one-line module
    unless given).

    `metadata_bytes` replaces the METADATA that the other arguments make.
    """
    escaped = name.replace("-", "_")
    info = f"{escaped}-{version}.dist-info"
    if metadata_bytes is None:
        metadata_bytes = metadata(name, version, requires_python=requires_python, extra=extra)
    pythons, abis, platforms = tag.split("-")
    tags = [
        f"{p}-{a}-{f}"
        for p in pythons.split(".")
        for a in abis.split(".")
        for f in platforms.split(".")
    ]
    wheel_lines = [
        "Wheel-Version: 1.0",
        "Generator: pypid-tests",
        "Root-Is-Purelib: true",
        *(f"Tag: {t}" for t in tags),
    ]
    contents = (
        dict(files) if files is not None else {f"{escaped.replace('.', '_')}.py": b"eggs = 1\n"}
    )
    contents[f"{info}/METADATA"] = metadata_bytes
    contents[f"{info}/WHEEL"] = "\n".join([*wheel_lines, ""]).encode()
    contents[f"{info}/RECORD"] = record(contents, f"{info}/RECORD")
    return zipped(contents, compression=compression)


def record(contents: Mapping[str, bytes], itself: str) -> bytes:
    """A RECORD for `contents`, in which `itself` (its own name) stands without a hash."""
    lines = [f"{path},sha256={_urlsafe(data)},{len(data)}" for path, data in contents.items()]
    return "\n".join([*lines, f"{itself},,", ""]).encode()


def _urlsafe(data: bytes) -> str:
    return urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()


def zipped(contents: Mapping[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of `contents`, in their order."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for path, data in contents.items():
            entry = zipfile.ZipInfo(path, WHEN)
            entry.compress_type = compression
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return file.getvalue()


def sdist_filename(name: str = "spam", version: str = "1.0", *, suffix: str = ".tar.gz") -> str:
    """The file name that `sdist` of the same arguments belongs under."""
    return f"{name.replace('-', '_')}-{version}{suffix}"


def sdist(
    name: str = "spam",
    version: str = "1.0",
    *,
    suffix: str = ".tar.gz",
    requires_python: str | None = None,
    metadata_bytes: bytes | None = None,
    metadata_version: str = "2.1",
    extra: Sequence[tuple[str, str]] = (),
    files: Mapping[str, bytes] | None = None,
    top: str | None = None,
) -> bytes:
    """A correct sdist with ``{top}/PKG-INFO``; `suffix` as in its file name (also ``.zip``);
    `files` lie below `top`.
    """
    top = f"{name.replace('-', '_')}-{version}" if top is None else top
    if metadata_bytes is None:
        metadata_bytes = metadata(
            name,
            version,
            requires_python=requires_python,
            metadata_version=metadata_version,
            extra=extra,
        )
    inner = {
        "PKG-INFO": metadata_bytes,
        "setup.py": b"from setuptools import setup\nsetup()\n",
        **(files or {}),
    }
    contents = {f"{top}/{path}": data for path, data in inner.items()}
    if suffix == ".zip":
        return zipped(contents)
    members = []
    for path, data in contents.items():
        entry = tarfile.TarInfo(path)
        entry.size = len(data)
        members.append((entry, data))
    return tarred(members, suffix=suffix)


def tarred(members: Sequence[tuple[tarfile.TarInfo, bytes]], *, suffix: str = ".tar.gz") -> bytes:
    """A tar archive of the members as given (hostile ones too), compressed as `suffix` says
    (``.tar``: not at all).
    """
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry, data in members:
            entry.mtime = WHEN_UNIX
            archive.addfile(entry, io.BytesIO(data))
    return compressed(file.getvalue(), suffix)


def compressed(data: bytes, suffix: str) -> bytes:
    """`data` compressed as file names that end so are."""
    if suffix in (".tar.gz", ".tgz"):
        out = io.BytesIO()
        with GzipFile(fileobj=out, mode="wb", mtime=WHEN_UNIX) as stream:
            stream.write(data)
        return out.getvalue()
    if suffix == ".tar.bz2":
        import bz2

        return bz2.compress(data)
    if suffix == ".tar.xz":
        import lzma

        return lzma.compress(data)
    return data


def egg_filename(name: str = "spam", version: str = "1.0", *, python: str = "3.6") -> str:
    """The file name that `egg` of the same arguments belongs under."""
    return f"{name.replace('-', '_')}-{version}-py{python}.egg"


def egg(
    name: str = "spam",
    version: str = "1.0",
    *,
    metadata_bytes: bytes | None = None,
    files: Mapping[str, bytes] | None = None,
) -> bytes:
    """A correct egg with ``EGG-INFO/PKG-INFO``."""
    contents = dict(files) if files is not None else {f"{name.replace('-', '_')}.py": b"eggs = 1\n"}
    contents["EGG-INFO/PKG-INFO"] = (
        metadata(name, version) if metadata_bytes is None else metadata_bytes
    )
    return zipped(contents)
