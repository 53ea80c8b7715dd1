"""What live tests publish and install: wheels, sdists that build with nothing but themselves, and
projects to publish from.
"""

import json
import textwrap
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from tests import distributions as made
from tests.live.daemon import PASSWORDS, LiveIndex

BACKEND: Final = """
import base64, hashlib, os, zipfile

NAME, VERSION = {name!r}, {version!r}

def get_requires_for_build_wheel(config_settings=None):
    return []

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    escaped = NAME.replace("-", "_")
    info = escaped + "-" + VERSION + ".dist-info/"
    files = [
        (escaped + ".py", b"eggs = 1\\n"),
        (info + "METADATA", ("Metadata-Version: 2.1\\nName: %s\\nVersion: %s\\n" % (NAME, VERSION)).encode()),
        (info + "WHEEL", b"Wheel-Version: 1.0\\nGenerator: itself\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"),
    ]
    record = []
    for path, data in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append("%s,sha256=%s,%d\\n" % (path, digest, len(data)))
    files.append((info + "RECORD", ("".join(record) + info + "RECORD,,\\n").encode()))
    filename = escaped + "-" + VERSION + "-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, filename), "w") as archive:
        for path, data in files:
            archive.writestr(path, data)
    return filename
"""
"""A build backend that lies in the sdist itself, so that building asks no index for anything."""

PYPROJECT: Final = (
    '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
)
SETUP: Final = (
    "from setuptools import setup\nsetup(name={name!r}, version={version!r}, "
    "py_modules=[{module!r}])\n"
)


@frozen
class Artifact:
    """A distribution file to publish."""

    filename: str
    data: bytes

    def into(self, folder: Path) -> Path:
        """Written into `folder`, which is made; its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.filename
        path.write_bytes(self.data)
        return path


def wheel(
    name: str, version: str = "1.0", *, tag: str = "py2.py3-none-any", **more: Any
) -> Artifact:
    """A wheel; `more` as in `tests.distributions.wheel`."""
    return Artifact(
        made.wheel_filename(name, version, tag=tag), made.wheel(name, version, tag=tag, **more)
    )


def sdist(name: str, version: str = "1.0") -> Artifact:
    """An sdist that pip 9 builds with its setuptools, and all that know PEP 517 with the backend
    inside.
    """
    words = {"name": name, "version": version, "module": name.replace("-", "_")}
    files = {
        "pyproject.toml": PYPROJECT.encode(),
        "backend.py": BACKEND.format(**words).encode(),
        "setup.py": SETUP.format(**words).encode(),
        f"{words['module']}.py": b"eggs = 1\n",
    }
    return Artifact(made.sdist_filename(name, version), made.sdist(name, version, files=files))


def publish(
    index: LiveIndex, *artifacts: Artifact, user: str = "alice", to: str = "/legacy/"
) -> None:
    """Publish over HTTP with the fewest fields that pypid takes; `to` an upload path."""
    for artifact in artifacts:
        boundary = b"0123456789abcdef"
        fields = b"".join(
            b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
            % (boundary, name, value)
            for name, value in ((b":action", b"file_upload"), (b"protocol_version", b"1"))
        )
        head = b'--%s\r\nContent-Disposition: form-data; name="content"; filename="%s"\r\n\r\n'
        body = (
            fields
            + head % (boundary, artifact.filename.encode())
            + artifact.data
            + b"\r\n--%s--\r\n" % boundary
        )
        call(
            index,
            "POST",
            to,
            body,
            user=user,
            content_type=f"multipart/form-data; boundary={boundary.decode()}",
        )


def call(
    index: LiveIndex,
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    user: str | None = None,
    accept: str = "*/*",
    content_type: str = "application/json",
) -> bytes:
    """The body of a good answer. Raises `AssertionError` with that of another."""
    headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": "test"}
    if user is not None:
        headers["Authorization"] = (
            "Basic " + b64encode(f"{user}:{PASSWORDS[user]}".encode()).decode()
        )
    try:
        with urllib.request.urlopen(
            urllib.request.Request(index.url(path), body, headers, method=method), timeout=30
        ) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {path} -> {error.code}: {error.read().decode()}") from None


def manage(index: LiveIndex, method: str, path: str, **document: str) -> Any:
    """One call of the JSON API below ``/api/projects/``, by the admin."""
    body = json.dumps(document).encode() if method == "PUT" else None
    return json.loads(call(index, method, f"/api/projects/{path}", body, user="admin"))


def page(index: LiveIndex, project: str, user: str | None = None) -> Any:
    """The project's page, as JSON."""
    return json.loads(
        call(
            index,
            "GET",
            f"/simple/{project}/",
            user=user,
            accept="application/vnd.pypi.simple.v1+json",
        )
    )


def listed(index: LiveIndex, project: str) -> list[str]:
    """The file names on the project's page."""
    return sorted(file["filename"] for file in page(index, project)["files"])


def source_tree(folder: Path, name: str, version: str, build: str) -> Path:
    """A project that poetry, pdm, flit and hatch read, in `folder`; `build` is its [build-system]
    and tool part.
    """
    module = name.replace("-", "_")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(f'"""Lovely {name}."""\n__version__ = "{version}"\n')
    (folder / "README.md").write_text("Lovely.\n")
    text = f"""
        [project]
        name = "{name}"
        version = "{version}"
        description = "Lovely {name}"
        authors = [{{name = "Terry", email = "terry@example.org"}}]
        requires-python = ">=3.8"
        readme = "README.md"
    """
    (folder / "pyproject.toml").write_text(textwrap.dedent(text) + build)
    return folder
