"""pip of every age and uv install from a real pypid: wheels, sdists, hashes, yanked files, what a
Python may not have.
"""

import sys
from hashlib import sha256
from pathlib import Path

from tests.live.clients import client
from tests.live.daemon import IndexTestCase, for_each
from tests.live.isolation import fails, pip, uv, works
from tests.live.projects import Artifact, manage, page, publish, sdist, wheel

PIPS = (
    "pip-9-on-2.7",
    "pip-9-on-3.6",
    "pip-20-on-2.7",
    "pip-20-on-3.8",
    "pip-23-on-3.9",
    "pip-23-on-3.11",
    "pip-on-3.11",
    "pip-on-3.12",
    "pip-on-3.13",
)
NEWEST = "pip-on-3.11"


def installed(folder: Path) -> set[str]:
    """The releases in a folder that was a --target, like ``spam-1.0``."""
    return {
        path.name.rpartition(".")[0].partition("-py")[0]
        for path in folder.iterdir()
        if path.suffix in (".dist-info", ".egg-info")
    }


def pinned(name: str, version: str, artifact: Artifact) -> str:
    """A line of a requirements file with the hash."""
    return f"{name}=={version} --hash=sha256:{sha256(artifact.data).hexdigest()}\n"


class InstallTests(IndexTestCase):
    def publish_all(self, name: str) -> None:
        """Three projects: wheels of which some are for no Python, local versions, and an sdist
        alone.
        """
        publish(
            self.index,
            wheel(f"{name}-plain"),
            wheel(f"{name}-plain", "1.1", requires_python=">=99"),
        )
        publish(self.index, wheel(f"{name}-local", "1.0"), wheel(f"{name}-local", "1.0+cu118"))
        publish(self.index, sdist(f"{name}-source"))

    def check_all(self, name: str, target: Path, agent: str) -> None:
        """They are there, in the right versions, and it was pypid that had them."""
        escaped = name.replace("-", "_")
        found = {item.replace("-", "_", item.count("-") - 1) for item in installed(target)}
        self.assertEqual(
            found, {f"{escaped}_plain-1.0", f"{escaped}_local-1.0+cu118", f"{escaped}_source-1.0"}
        )
        self.answered("GET", f"/simple/{name}-plain/", agent=agent)
        self.answered(
            "GET", f"/packages/{name}-plain/{escaped}_plain-1.0-py2.py3-none-any.whl", agent=agent
        )
        self.answered("GET", f"/packages/{name}-source/{escaped}_source-1.0.tar.gz", agent=agent)

    @for_each(*PIPS)
    def installs(self, name: str) -> None:
        """This pip installs wheels, an sdist that it builds, and a local version (C46); it skips
        files for other Pythons, and with --require-hashes takes only what has the hash (C1, C4,
        C22, C40).
        """
        project = "it-" + name.replace(".", "-")
        self.publish_all(project)
        target = self.folder / "target"
        what = (f"{project}-plain", f"{project}-local==1.0+cu118", f"{project}-source")
        works(pip(name, "install", self.index.url(), "--target", target, *what), self.folder)
        self.check_all(project, target, "pip/")

        hashed = wheel(f"{project}-plain")
        wanted = self.folder / "requirements.txt"
        wanted.write_text(pinned(f"{project}-plain", "1.0", hashed))
        command = pip(
            name,
            "install",
            self.index.url(),
            "--target",
            self.folder / "hashed",
            "--require-hashes",
            "-r",
            wanted,
        )
        works(command, self.folder)
        self.assertEqual(len(installed(self.folder / "hashed")), 1)
        wanted.write_text(pinned(f"{project}-plain", "1.0", sdist("other")))
        self.assertIn("DO NOT MATCH THE HASHES", fails(command, self.folder))

    def test_uv(self) -> None:
        """uv installs wheels, an sdist that it builds, and a local version (C46); it skips files for other Pythons, and with
        --require-hashes takes only what has the hash (C5, C22, C40).
        """
        self.publish_all("it-uv")
        target = self.folder / "target"
        what = ("it-uv-plain", "it-uv-local==1.0+cu118", "it-uv-source")
        works(uv(self.index.url(), "--target", target, *what), self.folder)
        self.check_all("it-uv", target, "uv/")

        wanted = self.folder / "requirements.txt"
        wanted.write_text(pinned("it-uv-plain", "1.0", wheel("it-uv-plain")))
        command = uv(
            self.index.url(), "--target", self.folder / "hashed", "--require-hashes", "-r", wanted
        )
        works(command, self.folder)
        wanted.write_text(pinned("it-uv-plain", "1.0", sdist("other")))
        command = uv(
            self.index.url(),
            "--no-cache",
            "--target",
            self.folder / "else",
            "--require-hashes",
            "-r",
            wanted,
        )
        self.assertIn("Hash mismatch", fails(command, self.folder))


class YankTests(IndexTestCase):
    def publish_yanked(self, name: str) -> None:
        """1.0, and 2.0 that is yanked."""
        publish(self.index, wheel(name), wheel(name, "2.0"))
        manage(self.index, "PUT", f"{name}/releases/2.0/yank", reason='breaks "everything" <soon>')

    @for_each("pip-20-on-2.7", "pip-20-on-3.8", "pip-23-on-3.11", "pip-on-3.13")
    def pip_and_yanked(self, name: str) -> None:
        """pip passes by a yanked file, unless it is asked for by == (C30); then it tells the reason
        as it was given (C29).
        """
        project = "yank-" + name.replace(".", "-")
        self.publish_yanked(project)
        works(
            pip(name, "install", self.index.url(), "--target", self.folder / "any", project),
            self.folder,
        )
        self.assertEqual({item[-4:] for item in installed(self.folder / "any")}, {"-1.0"})
        said = works(
            pip(
                name,
                "install",
                self.index.url(),
                "--target",
                self.folder / "one",
                f"{project}==2.0",
            ),
            self.folder,
        )
        self.assertEqual({item[-4:] for item in installed(self.folder / "one")}, {"-2.0"})
        self.assertIn('breaks "everything" <soon>', said)

    def test_uv(self) -> None:
        """uv passes by a yanked file, unless it is asked for by == (C30); then it tells the reason
        as it was given (C29).
        """
        self.publish_yanked("yank-uv")
        works(uv(self.index.url(), "--target", self.folder / "any", "yank-uv"), self.folder)
        self.assertEqual(installed(self.folder / "any"), {"yank_uv-1.0"})
        said = works(
            uv(self.index.url(), "--target", self.folder / "one", "yank-uv==2.0"), self.folder
        )
        self.assertEqual(installed(self.folder / "one"), {"yank_uv-2.0"})
        self.assertIn('breaks "everything" <soon>', said)


class TimeTests(IndexTestCase):
    def before_second(self, name: str) -> str:
        """Publish 1.0 and then 2.0; the moment of the second."""
        publish(self.index, wheel(name))
        publish(self.index, wheel(name, "2.0"))
        (moment,) = (
            file["upload-time"]
            for file in page(self.index, name)["files"]
            if "-2.0-" in file["filename"]
        )
        return str(moment)

    def test_uv(self) -> None:
        """`uv --exclude-newer` takes what was there before that moment, since upload times are told
        (C24).
        """
        moment = self.before_second("time-uv")
        works(
            uv(
                self.index.url(),
                "--exclude-newer",
                moment,
                "--target",
                self.folder / "t",
                "time-uv",
            ),
            self.folder,
        )
        self.assertEqual(installed(self.folder / "t"), {"time_uv-1.0"})

    def test_pip(self) -> None:
        """`pip --uploaded-prior-to` takes what was there before that moment, since upload times are
        told (C24).
        """
        moment = self.before_second("time-pip")
        options = ("--uploaded-prior-to", moment, "--target", self.folder / "t", "time-pip")
        works(pip(NEWEST, "install", self.index.url(), *options), self.folder)
        self.assertEqual(installed(self.folder / "t"), {"time_pip-1.0"})


class FreshTests(IndexTestCase):
    def test_pip(self) -> None:
        """The newest pip, with its cache on, sees a new release at once, and revalidates by the
        ETag (C74, C101).
        """
        publish(self.index, wheel("fresh-pip"))
        trusted = (
            "--trusted-host",
            "127.0.0.1",
            "--upgrade",
            "--target",
            self.folder / "t",
            "fresh-pip",
        )  # else: no cache
        command = pip(NEWEST, "install", self.index.url(), *trusted, cache=True)
        works(command, self.folder)
        works(command, self.folder)
        self.answered("GET", "/simple/fresh-pip/", status=304, agent="pip/")
        publish(self.index, wheel("fresh-pip", "2.0"))
        works(command, self.folder)
        self.assertIn(
            "fresh_pip-2.0", installed(self.folder / "t")
        )  # pip removes nothing from a --target

    def test_uv(self) -> None:
        """uv, with its cache on, sees a new release at once, and revalidates by the ETag (C74,
        C101).
        """
        publish(self.index, wheel("fresh-uv"))
        command = uv(self.index.url(), "--upgrade", "--target", self.folder / "t", "fresh-uv")
        works(command, self.folder)
        works(command, self.folder)
        self.answered("GET", "/simple/fresh-uv/", status=304, agent="uv/")
        publish(self.index, wheel("fresh-uv", "2.0"))
        works(command, self.folder)
        self.assertEqual(installed(self.folder / "t"), {"fresh_uv-2.0"})


READ_ALL = """
import sys
from pypi_simple import PyPISimple
with PyPISimple(sys.argv[1]) as client:
    assert "reading" in client.get_index_page().projects
    page = client.get_project_page("Reading")
    assert page.repository_version == "1.4", page
    assert sorted(page.versions) == ["1.0", "2.0"], page
    yanked, source, plain = sorted(page.packages, key=lambda package: package.filename, reverse=True)
    assert yanked.is_yanked and yanked.yanked_reason == "no <good>", yanked
    assert not plain.is_yanked and plain.requires_python == ">=2.7" and plain.upload_time is not None, plain
    assert plain.has_metadata and b"Name: reading" in client.get_package_metadata_bytes(plain)
    client.download_package(source, sys.argv[2], verify=True)
    assert source.size > 0 and not source.has_metadata
    print(page.status.value, page.status_reason)
"""


class OtherReadersTests(IndexTestCase):
    def test_pypi_simple(self) -> None:
        """The library pypi-simple reads all that pypid tells: list, page, yank, status, metadata
        (C7, C22, C26, C28, C33).
        """
        publish(
            self.index,
            sdist("reading"),
            wheel("reading", requires_python=">=2.7"),
            wheel("reading", "2.0"),
        )
        manage(self.index, "PUT", "reading/releases/2.0/yank", reason="no <good>")
        manage(self.index, "PUT", "reading/status", status="deprecated", reason="use writing")
        said = works(
            [client("pypi-simple"), "-c", READ_ALL, self.index.url(), self.folder / "f"],
            self.folder,
        )
        self.assertIn("deprecated use writing", said)
        self.answered("GET", "/packages/reading/reading-1.0.tar.gz", agent="pypi-simple/")

    def test_poetry(self) -> None:
        """poetry locks and installs a wheel and an sdist that it builds; the hash of the .tar.gz
        holds (C6, C40, C48).
        """
        publish(self.index, wheel("po-wheel"), sdist("po-source"))
        project = self.folder / "project"
        project.mkdir()
        (project / "pyproject.toml").write_text(
            '[project]\nname = "eater"\nversion = "1"\nrequires-python = ">=3.11,<4"\n'
            'dependencies = ["po-wheel", "po-source"]\n'
            "[tool.poetry]\npackage-mode = false\n"
            f'[[tool.poetry.source]]\nname = "ours"\nurl = "{self.index.url()}"\npriority = '
            f'"primary"\n'
        )
        works([client("poetry"), "install", "--no-interaction"], self.folder, cwd=project)
        self.assertIn(
            sha256(sdist("po-source").data).hexdigest(), (project / "poetry.lock").read_text()
        )
        (site,) = project.glob(".venv/lib/python3*/site-packages")
        self.assertEqual(installed(site), {"po_wheel-1.0", "po_source-1.0"})
        self.answered("GET", "/packages/po-source/po_source-1.0.tar.gz", agent="poetry/")

    def test_pdm(self) -> None:
        """pdm locks and installs a wheel and an sdist that it builds; the hash of the .tar.gz holds
        (C4, C40).
        """
        publish(self.index, wheel("pd-wheel"), sdist("pd-source"))
        project = self.folder / "project"
        project.mkdir()
        (project / "pyproject.toml").write_text(
            '[project]\nname = "eater"\nversion = "1"\nrequires-python = ">=3.11"\n'
            'dependencies = ["pd-wheel", "pd-source"]\n'
            "[tool.pdm]\ndistribution = false\n"
            f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{self.index.url()}"\nverify_ssl = true\n'
        )
        executable = client("pdm")
        works(
            [executable.with_name("python"), "-m", "venv", "--without-pip", ".venv"],
            self.folder,
            cwd=project,
        )
        works([executable, "install", "--no-self"], self.folder, cwd=project)
        self.assertIn(
            sha256(sdist("pd-source").data).hexdigest(), (project / "pdm.lock").read_text()
        )
        (site,) = project.glob(".venv/lib/python3*/site-packages")
        self.assertEqual(installed(site), {"pd_wheel-1.0", "pd_source-1.0"})
        self.answered("GET", "/packages/pd-source/pd_source-1.0.tar.gz")

    def test_pdm_by_json(self) -> None:
        """pdm with ``pypi.json_api`` reads what a release depends on out of legacy JSON, and locks
        the same (C111).
        """
        publish(
            self.index, wheel("pd-base"), wheel("pd-json", extra=[("Requires-Dist", "pd-base>=1")])
        )
        project = self.folder / "project"
        project.mkdir()
        (project / "pyproject.toml").write_text(
            '[project]\nname = "eater"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = '
            '["pd-json"]\n'
            "[tool.pdm]\ndistribution = false\n"
            f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{self.index.url()}"\nverify_ssl = true\n'
        )
        executable = client("pdm")
        works([executable, "config", "--local", "pypi.json_api", "true"], self.folder, cwd=project)
        works([executable, "lock"], self.folder, cwd=project)
        self.answered("GET", "/pypi/pd-json/1.0/json")
        self.assertIn('name = "pd-base"', (project / "pdm.lock").read_text())

    def test_hatch_environment(self) -> None:
        """hatch makes an environment whose dependency pypid has, through the uv that hatch brings
        (C5).
        """
        publish(self.index, wheel("ha-wheel"))
        project = self.folder / "project"
        project.mkdir()
        (project / "pyproject.toml").write_text(
            '[project]\nname = "eater"\nversion = "1"\n'
            '[tool.hatch.envs.default]\nskip-install = true\ninstaller = "uv"\ndependencies = '
            '["ha-wheel"]\n'
            f'python = "{sys.version_info[0]}.{sys.version_info[1]}"\n'
        )
        command = [client("hatch"), "run", "python", "-c", "import ha_wheel; print(ha_wheel.eggs)"]
        bin_folder = str(client("hatch").parent)  # hatch asks PATH for uv and for Python
        said = works(
            command,
            self.folder,
            cwd=project,
            UV_DEFAULT_INDEX=self.index.url(),
            PATH=f"{bin_folder}:/usr/bin:/bin",
        )
        self.assertEqual(said.splitlines()[-1], "1")
        self.answered("GET", "/packages/ha-wheel/ha_wheel-1.0-py2.py3-none-any.whl", agent="uv/")
