"""A Debian of this machine's release that runs systemd, in namespaces of its own, for tests that install a package.

The file system is made by mmdebstrap from the mirror that this machine uses, and stays in ``.clients/``. Each machine runs on
a copy in memory, which ends with its processes. It shares the network: what listens there is reached on 127.0.0.1 here.
"""

import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final
from unittest import SkipTest

from attrs import frozen

from tests.live.clients import CLIENTS, in_ci, locked, tried_once
from tests.live.processes import clean_environ, done, running

PACKAGES: Final = "adduser,ca-certificates,dbus,nginx-light,python3,systemd,systemd-sysv"
HOOK: Final = (
    'chroot "$1" systemctl disable nginx && rm "$1/etc/nginx/sites-enabled/default" && '
    'chroot "$1" apt-get clean && rm -rf "$1"/var/lib/apt/lists/*'
)
"""The network is shared: nothing may listen on a usual port."""
RECIPE: Final = f"{PACKAGES} {HOOK}"
BOOT_TIMEOUT: Final = 60.0

BOOT: Final = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=0755 machine "$1"
tar -C "$1" -xf "$2"
cd "$1"
mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs -o mode=0755 cgroups sys/fs/cgroup
mount -t cgroup2 cgroup sys/fs/cgroup
mount -t tmpfs -o mode=0755 run run
mount -t tmpfs -o mode=0755 dev dev
mkdir dev/shm dev/pts former
mount -t devpts -o newinstance,ptmxmode=0666 pts dev/pts
ln -s pts/ptmx dev/ptmx
for name in null zero full random urandom tty; do touch "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
pivot_root . former
umount -l /former
rmdir /former
exec env -i container=namespaces PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --log-target=journal --unit=multi-user.target
"""
"""Makes the root (first argument) from the archive (second) and becomes its systemd.

A service with ProtectSystem= needs "/" to be a mount point: a chroot would not do.
"""


@frozen
class Machine:
    """The running systemd, by the number of its process out here."""

    pid: int

    @property
    def root(self) -> Path:
        """Its file system, as this machine's root sees it."""
        return Path(f"/proc/{self.pid}/root")

    def run(self, *command: str, status: int = 0) -> str:
        """What a command printed there. Raises `AssertionError` unless it ends with `status`."""
        enter = [
            "nsenter",
            f"--target={self.pid}",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--cgroup",
        ]
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
        return done([*enter, f"--root={self.root}", *command], environ=environ, status=status)

    def journal(self, unit: str = "pypid") -> str:
        """What a unit has logged."""
        return self.run("journalctl", f"--unit={unit}", "--output=cat", "--no-pager")

    def until_booted(self) -> None:
        """Wait until systemd has started everything. Raises `AssertionError` with what failed."""
        deadline = time.monotonic() + BOOT_TIMEOUT
        while True:
            state = self._state()
            if state == "running":
                return
            failed = (
                self.run("systemctl", "--failed", "--no-pager") if state == "degraded" else state
            )
            assert state != "degraded" and time.monotonic() < deadline, failed
            time.sleep(0.1)

    def _state(self) -> str:
        try:
            return self.run("sh", "-c", "systemctl is-system-running || true").split("\n")[-2]
        except (AssertionError, IndexError) as error:  # not there yet
            return str(error)


def need_root_and_tools() -> None:
    """Skip, or in CI fail, where no such machine can be made."""
    reasons = [
        f"{name} is missing"
        for name in ("mmdebstrap", "nsenter", "unshare")
        if not shutil.which(name)
    ]
    if platform.freedesktop_os_release().get("ID") != "debian":
        reasons.append("this is no Debian")
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        reasons.append("namespaces cannot be made: not root, or forbidden")
    if reasons and in_ci():
        raise AssertionError("; ".join(reasons))
    if reasons:
        raise SkipTest("; ".join(reasons))


def mirror(release: str) -> tuple[str, ...]:
    """The first Debian archive of apt's sources for a release; none means that the program chooses."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    command.append(f"Suite: {release}")
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    uri = next((uri for uri in listed if uri.rstrip("/").endswith("/debian")), None)
    return () if uri is None else (uri,)


def _archive() -> Path:
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    recipe = sha256(RECIPE.encode()).hexdigest()[:8]
    archive = CLIENTS / f"debian-{release}-systemd-{recipe}.tar"
    with locked(archive.stem):
        if not archive.exists():
            part = archive.with_suffix(".part.tar")
            with tried_once(archive.stem):
                what = [
                    "--variant=minbase",
                    f"--include={PACKAGES}",
                    "--format=tar",
                    f"--customize-hook={HOOK}",
                ]
                done(["mmdebstrap", "--quiet", *what, release, part, *mirror(release)], timeout=900)
            part.rename(archive)
    return archive


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """A machine that has booted. `folder` holds the output of its first process and its mount point."""
    need_root_and_tools()
    archive, root = _archive(), folder / "root"
    root.mkdir()
    spaces = ["--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork", "--kill-child=KILL"]
    command = ["unshare", *spaces, "sh", "-c", BOOT, "boot", root, archive]
    with running(command, folder / "boot", environ=clean_environ()) as process:
        made = Machine(_child(process.process.pid))
        made.until_booted()
        yield made
        process.process.kill()  # and with it, as --kill-child says, all of the machine


def _child(pid: int) -> int:
    """The only child of a process, which may take a moment to be there."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    for _ in range(200):
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.02)
    raise AssertionError(f"process {pid} has no child")
