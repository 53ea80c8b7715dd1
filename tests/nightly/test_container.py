"""etc/Containerfile, built and run with podman on a Debian that we make ourselves: a test needs no
registry of images.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live.clients import CLIENTS, OURS, in_ci, locked, tried_once
from tests.live.debian import mirror
from tests.live.processes import clean_environ, copy_source, done, free_port, scratch, until_answers
from tests.live.wheels import wheels

INSIDE: Final = "3.11"
"""The Python of that Debian."""
PROXIES: Final = ("http_proxy", "https_proxy", "no_proxy")
BASE: Final = "localhost/pypid-test-debian:bookworm-slim"
IMAGE: Final = f"localhost/pypid-test:{os.getpid()}"
LIMITS: Final = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
PATH: Final = os.environ.get("PATH", "") + ":/usr/sbin"
WAYS: Final = ((), ("--runtime=runc", *LIMITS), ("--cgroups=disabled", *LIMITS))
"""Ways to run a container, best first: inside another sandbox cgroups may be of an old kind, and
limits may not be raised.
"""


DOCUMENTATION = "<!DOCTYPE html><title>Documentation</title>"


def need(name: str) -> str:
    """The path of a program; skips where there is none."""
    path = shutil.which(name, path=PATH)
    if path is None:
        if name != "podman" and in_ci():
            raise AssertionError(f"{name} is missing: apt install {name}")
        raise SkipTest(f"{name}: not on this machine (apt install {name})")
    return path


def debian() -> None:
    """Make the base image, from the Debian mirror that this machine uses; the file system is kept
    in .clients/ across runs.
    """
    archive = CLIENTS / "debian-bookworm.tar"
    with locked("debian-bookworm"):
        if not archive.exists():
            with tried_once("debian-bookworm"):
                bootstrap(archive.with_suffix(".part"))
            archive.with_suffix(".part").rename(archive)
        done([need("podman"), "import", "--quiet", archive, BASE])


def bootstrap(archive: Path) -> None:
    """Write the file system, by mmdebstrap where there is one: it takes less than half of
    debootstrap's work.
    """
    what = ("--variant=minbase", "--include=ca-certificates,python3,python3-venv")
    if shutil.which("mmdebstrap") or not shutil.which("debootstrap", path=PATH):
        done(
            [
                need("mmdebstrap"),
                "--quiet",
                "--format=tar",
                *what,
                "bookworm",
                archive,
                *mirror("bookworm"),
            ],
            timeout=900,
        )
        return
    with scratch() as folder:
        root = folder / "root"
        done([need("debootstrap"), *what, "bookworm", root, *mirror("bookworm")], timeout=900)
        done(["tar", "-C", root, "--exclude=./var/cache/apt/archives/*.deb", "-cf", archive, "."])


def settings_of_pip(folder: Path) -> list[str]:
    """Build flags that give pip inside what pip has here, in a file made in `folder`: the
    Containerfile knows nothing of that.

    Where our Python is the one inside, that is a folder of `wheels`; else the registry that pip
    uses here.
    """
    if OURS == INSIDE:
        return [
            f"--volume={wheels()}:/wheels:ro",
            volume(folder, {"no-index": "true", "find-links": "/wheels"}),
        ]
    listed = done([sys.executable, "-m", "pip", "config", "list"])
    options = {
        key.partition(".")[2].lstrip("."): value
        for key, value in re.findall(r"^(\S+)='(.*)'$", listed, re.MULTILINE)
    }
    known = {
        key: options[key]
        for key in ("index-url", "trusted-host", "proxy", "default-timeout")
        if key in options
    }
    if certificate := options.get("cert"):
        inside = "/run/certificates.pem"
        return [
            f"--volume={Path(certificate).resolve()}:{inside}:ro",
            volume(folder, {**known, "cert": inside}),
        ]
    return [volume(folder, known)]


def volume(folder: Path, settings: dict[str, str]) -> str:
    """The build flag for a pip.conf with these settings."""
    path = folder / "pip.conf"
    path.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
    return f"--volume={path}:/etc/pip.conf:ro"


def build() -> None:
    """Build `IMAGE` from a clean copy of the source."""
    with scratch() as folder:
        source = copy_source(folder / "source")
        documentation = source / "docs/_build/html"  # where `make image` puts it
        documentation.mkdir(parents=True)
        (documentation / "index.html").write_text(DOCUMENTATION)
        command = [
            need("podman"),
            "build",
            "--format=docker",
            "--file=etc/Containerfile",
            f"--tag={IMAGE}",
            f"--build-arg=BASE={BASE}",
            # nobody builds it twice, and to write each step down takes longer than the steps
            "--layers=false",
        ]
        command += ["--force-rm", "--network=host", "--pull=never", *settings_of_pip(folder)]
        command += [f"--env={name}={os.environ[name]}" for name in PROXIES if name in os.environ]
        # where a sandbox forbids what the usual isolation needs, a chroot is enough to build in
        done([*command, "--isolation=chroot", "."], cwd=source, timeout=1200)


def images() -> frozenset[str]:
    """The ids of all images here, layers of builds among them."""
    return frozenset(done(["podman", "images", "--all", "--quiet", "--no-trunc"]).split())


def forget(ours: frozenset[str]) -> None:
    """Remove images; the layers that a build leaves are images too (without layers, buildah ignores
    --env).
    """
    if ours:
        done(["podman", "image", "rm", "--force", "--ignore", *sorted(ours)])


def way_to_run() -> tuple[str, ...]:
    """The first of `WAYS` in which a container starts here. Raises `AssertionError` with what each
    of them said.
    """
    said = []
    for way in WAYS:
        command = [
            need("podman"),
            "run",
            "--rm",
            *way,
            "--entrypoint=python3",
            IMAGE,
            "-c",
            "print(6 * 7)",
        ]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env=clean_environ()
        )
        if ended.stdout.strip() == "42":
            return way
        said.append(f"{' '.join(way) or 'plain'}: {ended.stderr.strip()}")
    raise AssertionError("podman cannot run a container here:\n" + "\n".join(said))


class ContainerTests(SynchronousTestCase):
    def setUp(self) -> None:
        need("podman")
        before = images()
        self.addCleanup(lambda: forget(images() - before))
        debian()
        build()

    def test_serves(self) -> None:
        """The image serves as a user who is not root, is healthy, keeps its state in the volume,
        ends in order; no gcc.
        """
        way = way_to_run()
        port = free_port()
        name, volume = f"pypid-test-{os.getpid()}", f"pypid-test-{os.getpid()}"
        self.addCleanup(done, ["podman", "volume", "rm", "--force", volume])
        run = [
            "podman",
            "run",
            "--detach",
            f"--name={name}",
            *way,
            "--network=host",
            f"--volume={volume}:/var/lib/pypid",
        ]
        settings = [
            f"--env=PYPID_SERVER_LISTEN=tcp:{port}:interface=127.0.0.1",
            "--env=PYPID_ACCESS_READ=everyone",
            "--env=PYPID_ADVISORIES_SOURCE=",
        ]
        self.addCleanup(done, ["podman", "rm", "--force", "--ignore", "--time=1", name])
        done([*run, *settings, IMAGE])
        try:
            answer = until_answers(f"http://127.0.0.1:{port}/simple/")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{done(['podman', 'logs', name])}") from None
        self.assertIn(b"<html", answer.lower())
        page = until_answers(f"http://127.0.0.1:{port}/docs/index.html")
        self.assertIn(DOCUMENTATION.encode(), page)
        self.assertIn("[server]", done(["podman", "exec", name, "ppc-make-config"]))
        self.assertIn("password", done(["podman", "logs", name]))
        self.assertEqual(done(["podman", "exec", name, "id", "-u"]).strip(), "10001")
        done(["podman", "exec", name, "sh", "-c", "! command -v gcc"])
        done(["podman", "healthcheck", "run", name])
        done(["podman", "stop", "--time=25", name])
        ended = done(["podman", "inspect", "--format", "{{.State.ExitCode}}", name]).strip()
        self.assertEqual(ended, "0", done(["podman", "logs", name]))
        kept = done(
            [
                "podman",
                "run",
                "--rm",
                *way,
                f"--volume={volume}:/var/lib/pypid",
                "--entrypoint=ls",
                IMAGE,
                "/var/lib/pypid",
            ]
        )
        self.assertIn("admin.json", kept)
