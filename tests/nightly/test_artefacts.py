"""What `make dist` builds: the distributions, what is in them, and that they install."""

import shutil
import tarfile
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid import __version__
from pypid.core.installation import DISTRIBUTION, PYPICLOUD_DISTRIBUTION, WHEEL
from tests.live.asking import ask
from tests.live.clients import OURS, ROOT, client
from tests.live.processes import BIN, clean_environ, copy_source, done, free_port, running, scratch
from tests.nightly.test_packaging import TEMPORARY, near, python_of, quickly

SHARED = "share/pypid/"
SHIPPED = (
    *("pypid.service", "pypid.socket", "nginx.conf", "nginx-published.conf"),
    *("grafana.json", "prometheus-alerts.yml"),
)


def metadata_of(wheel: Path) -> Message:
    """The core metadata of a wheel."""
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(opened.read(name))


class DistTests(SynchronousTestCase):
    def build(self, folder: Path) -> Path:
        """Run `make dist` in a copy of the checkout; return the folder of what it built. The
        documentation that `make docs` has built before is taken as it is.
        """
        source = copy_source(folder / "source")
        unwanted = shutil.ignore_patterns("_build")
        shutil.copytree(ROOT / "docs", source / "docs", ignore=unwanted, dirs_exist_ok=True)
        for target, page in ("docs", "docs/index.html"), ("man", "man/pypid.1"):
            if not (ROOT / "build" / page).exists():
                done(["make", target], cwd=ROOT, timeout=300)
            shutil.copytree(ROOT / "build" / target, source / "build" / target)
        given = ("--old-file=docs", "--old-file=man", "--old-file=.venv/bin/python", f"BIN={BIN}")
        done(["make", *given, "dist"], cwd=source, environ=near(), timeout=600)
        self.assertFalse((source / "docs/_build").exists())
        return source / "dist"

    def check_metadata(self, wheel: Path, name: str) -> Message:
        """Each wheel has the name, the version, and the licence with its text."""
        found = metadata_of(wheel)
        self.assertEqual((found["Name"], found["Version"]), (name, __version__))
        self.assertEqual(found["License-Expression"], "MIT")
        self.assertEqual(found.get_all("License-File"), ["LICENSE"])
        with zipfile.ZipFile(wheel) as opened:
            (licence,) = (each for each in opened.namelist() if each.endswith("/licenses/LICENSE"))
            self.assertEqual(opened.read(licence), (ROOT / "LICENSE").read_bytes())
        return found

    def check_contents(self, wheel: Path, sdist: Path) -> None:
        """The wheel has the documentation and the files for other programs; the sdist has what
        builds both.
        """
        with zipfile.ZipFile(wheel) as opened:
            names = set(opened.namelist())
        self.assertIn("pypid/documentation/index.html", names)
        self.assertIn("pypid/documentation/searchindex.js", names)
        data = f"pypid_server-{__version__}.data/data/{SHARED}"
        self.assertEqual({data + name for name in SHIPPED} - names, set())
        with tarfile.open(sdist) as archive:
            inside = {name.partition("/")[2] for name in archive.getnames()}
        wanted = {"LICENSE", "CHANGES.rst", "docs/_build/html/index.html", "etc/pypid.service"}
        wanted |= {"SECURITY.md", "SUPPORT.md", "CONTRIBUTING.md"}
        wanted |= {"packages/pypid-pypicloud/setup.py", "src/pypid/core/installation.py"}
        self.assertEqual(wanted - inside, set())
        self.assertFalse({name for name in inside if "__pycache__" in name})

    def test_dist(self) -> None:
        """`make dist` builds a wheel and an sdist of pypid-server and a wheel of pypid-pypicloud.
        Both wheels install together without conflicts, the installed pypid serves its own
        documentation, and pypicloud's commands are there.
        """
        with scratch(within=TEMPORARY) as folder:
            dist = self.build(folder)
            wheel, pypicloud = dist / WHEEL, dist / WHEEL.replace("_server", "_pypicloud")
            sdist = dist / f"pypid_server-{__version__}.tar.gz"
            self.assertEqual(set(dist.iterdir()), {wheel, pypicloud, sdist})
            described = self.check_metadata(wheel, DISTRIBUTION)
            self.assertGreater(len(str(described.get_payload())), 500)
            needs = self.check_metadata(pypicloud, PYPICLOUD_DISTRIBUTION).get_all("Requires-Dist")
            self.assertEqual(needs, [f"{DISTRIBUTION}=={__version__}"])
            self.check_contents(wheel, sdist)

            limits = ("--constraint", ROOT / "constraints.txt")
            place = quickly(folder / "venv", python_of(OURS), *limits, f"{wheel}[s3]", pypicloud)
            check = [client("uv"), "pip", "check", "--no-config", "--python", place / "python"]
            done(check, cwd=folder)
            self.assertEqual(
                done([place / "pypid", "--version"], cwd=folder).strip(), f"pypid {__version__}"
            )
            self.assertIn("[server]", done([place / "ppc-make-config"], cwd=folder))
            self.assertTrue((place.parent / "share/man/man1/pypid.1").exists())
            for name in SHIPPED:
                shipped = place.parent / SHARED / name
                self.assertEqual(shipped.read_bytes(), (ROOT / "etc" / name).read_bytes())
            self.serves_documentation(place, folder)

    def serves_documentation(self, place: Path, folder: Path) -> None:
        """The installed pypid serves the documentation that came with it."""
        port = free_port()
        config = folder / "pypid.ini"
        config.write_text(
            f"[server]\nlisten = tcp:{port}:interface=127.0.0.1\nstate = {folder / 'state'}\n"
        )
        command: list[str | Path] = [place / "pypid", "serve", "--config", config]
        with running(command, folder / "log", cwd=folder, environ=clean_environ()) as daemon:
            daemon.until_answers(f"http://127.0.0.1:{port}/health")
            page = ask(port, "/docs/index.html")
            self.assertEqual(page.status, 200, page)
            self.assertIn(b"pypid", page.body)
            daemon.stop_in_order()
