"""The Debian package (`make deb`): built, installed, upgraded, removed and purged where systemd runs."""

import atexit
import os
import shutil
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.live.clients import OURS, client
from tests.live.debian import Machine, machine, need_root_and_tools
from tests.live.processes import clean_environ, copy_source, done, free_port, scratch, until_answers
from tests.live.projects import wheel
from tests.live.wheels import offline, wheels

SYSTEM: Final = "/usr/bin/python3"
"""The Python that the package is made for."""


@cache
def package() -> Path:
    """The package, built once for each test process from a clean copy of the source, not compressed."""
    need_root_and_tools()
    if shutil.which("dpkg-shlibdeps") is None:
        raise AssertionError("dpkg-shlibdeps is missing: apt install dpkg-dev")
    place = Path(mkdtemp(prefix="pypid-deb-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    source = copy_source(place / "source")
    of_system = done([SYSTEM, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
    near = offline(wheels()) if of_system == OURS else {}
    environ = clean_environ(PIP=f"{sys.executable} -m pip", DEB_COMPRESSION="none", **near)
    done(["sh", "etc/deb/build.sh"], cwd=source, environ=environ, timeout=600)
    (made,) = source.glob("dist/*.deb")
    return made.rename(place / made.name)


class PackageTests(SynchronousTestCase):
    def test_contents(self) -> None:
        """The package has the licence, an example of a proxy, and links that lead below /opt; no file
        names the folder that it was built in.
        """
        listed = done(["dpkg-deb", "--contents", package()])
        for path in (
            "./etc/pypid/pypid.ini",
            "./opt/pypid/bin/ppc-migrate",
            "./usr/bin/pypid -> /opt/pypid/bin/pypid",
            "./opt/pypid/bin/python3 -> /usr/bin/python3.",
            "./usr/lib/systemd/system/pypid.service",
            "./usr/share/bash-completion/completions/pypid",
            "./usr/share/doc/pypid-server/examples/Caddyfile",
            "./usr/lib/systemd/system/pypid.socket",
            "./usr/share/doc/pypid-server/copyright",
            "./usr/share/doc/pypid-server/examples/nginx.conf",
            "./usr/share/doc/pypid-server/examples/nginx-published.conf",
        ):
            self.assertIn(path, listed)
        self.assertNotIn("direct_url.json", listed)
        with scratch() as folder:
            done(["dpkg-deb", "--raw-extract", package(), folder / "root"])
            named = done(["grep", "-rl", str(package().parent), folder / "root"], status=1)
            self.assertEqual(named, "")

    def test_life(self) -> None:
        """Installed under systemd it serves; an upgrade restarts it and keeps what was published; a
        removal keeps configuration and data, a purge nothing.
        """
        with scratch() as folder, machine(folder) as debian:
            port = free_port()
            (debian.root / "etc/pypid").mkdir()
            (debian.root / "etc/pypid/environment").write_text(
                f"PYPID_SERVER_LISTEN=tcp:{port}:interface=127.0.0.1\nPYPID_UPSTREAM_MODE=offline\n"
                "PYPID_ADVISORIES_SOURCE=\n"
            )
            shutil.copy(package(), debian.root / "root/pypid.deb")
            debian.run("dpkg", "--install", "/root/pypid.deb")
            url = f"http://127.0.0.1:{port}"
            try:
                until_answers(f"{url}/ready")
            except AssertionError as error:
                raise AssertionError(f"{error}\n{debian.journal()}") from None
            self.check_installed(debian)
            published = self.publish_and_install(folder, debian, url)

            before = debian.run("systemctl", "show", "--property=MainPID", "pypid")
            debian.run("systemctl", "reload", "pypid")
            self.assertEqual(debian.run("systemctl", "show", "--property=MainPID", "pypid"), before)
            debian.run("dpkg", "--install", "/root/pypid.deb")
            self.assertNotEqual(
                debian.run("systemctl", "show", "--property=MainPID", "pypid"), before
            )
            self.assertIn(published, until_answers(f"{url}/simple/deb-first/").decode())
            self.remove_and_purge(debian)

    def check_installed(self, debian: Machine) -> None:
        """The service runs as its own user, and will after the next boot."""
        shown = debian.run("systemctl", "show", "--property=ActiveState,User,NRestarts", "pypid")
        self.assertEqual(set(shown.split()), {"ActiveState=active", "User=pypid", "NRestarts=0"})
        self.assertEqual(debian.run("systemctl", "is-enabled", "pypid").strip(), "enabled")
        state = debian.run("stat", "--format=%U %G %a", "/var/lib/pypid", "/etc/pypid/pypid.ini")
        self.assertEqual(state.splitlines(), ["pypid pypid 700", "root pypid 640"])
        self.assertRegex(debian.run("pypid", "--version"), r"\d")
        debian.run("/opt/pypid/bin/ppc-gen-password", "--help")
        valid = debian.run("pypid", "check-config", "/etc/pypid/pypid.ini")
        self.assertIn("state = /var/lib/pypid", valid)

    def publish_and_install(self, folder: Path, debian: Machine, url: str) -> str:
        """Publish with a token that root made, and install; the file's name."""
        self.assertIn("pypid created an administrator", debian.journal())
        create = "pypid token create publish --user admin --can publish --quiet"
        token = debian.run(*create.split()).strip()
        published = wheel("deb-first")
        login = {"TWINE_USERNAME": "__token__", "TWINE_PASSWORD": token}
        upload = [
            client("twine"),
            "upload",
            "--non-interactive",
            "--repository-url",
            f"{url}/legacy/",
        ]
        done([*upload, published.into(folder)], environ=clean_environ(**login))
        pip = [client(f"pip-on-{OURS}"), "install", "--target", folder / "installed", "--no-deps"]
        done([*pip, "--index-url", f"{url}/simple/", "deb-first"], environ=isolated())
        self.assertTrue((folder / "installed/deb_first.py").exists())
        return published.filename

    def remove_and_purge(self, debian: Machine) -> None:
        """What each step leaves behind."""
        debian.run("dpkg", "--remove", "pypid-server")
        debian.run("systemctl", "is-active", "pypid", status=3)
        left = debian.run(
            "find",
            "/opt/pypid",
            "/usr/bin/pypid",
            "/var/lib/pypid/packages",
            "/etc/pypid",
            status=1,
        )
        self.assertIn("/etc/pypid/pypid.ini", left)
        self.assertIn("deb_first-1.0", left)
        self.assertNotIn("/opt/pypid/lib", left)
        debian.run("dpkg", "--purge", "pypid-server")
        for path in "/var/lib/pypid", "/etc/pypid", "/opt/pypid", "/usr/bin/pypid":
            debian.run("test", "-e", path, status=1)
        debian.run("getent", "passwd", "pypid", status=2)


def isolated() -> dict[str, str]:
    """An environment in which pip reads no configuration of this machine."""
    environ = {
        name: value for name, value in clean_environ().items() if not name.startswith("PIP_")
    }
    return {**environ, "PIP_CONFIG_FILE": os.devnull}
