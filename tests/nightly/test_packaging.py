"""What a person installs: the wheel, an editable checkout, `pypid.tac`, `make run` and the single
file.
"""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from atexit import register
from collections.abc import Callable
from email.parser import BytesParser
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from packaging.requirements import Requirement
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pypid import __version__
from tests.live.clients import OURS, ROOT, client, environment, in_ci, pythons, version_of
from tests.live.processes import (
    BIN,
    clean_environ,
    configure,
    copy_source,
    done,
    free_port,
    memory,
    running,
    scratch,
)
from tests.live.wheels import offline, wheels

SUPPORTED: Final = ("3.11", "3.12", "3.13")
OLDEST_TWISTED: Final = "24.7.0"
TEMPORARY: Final = memory()
RAW: Final = {"PIP_NO_COMPILE": "0", **({} if TEMPORARY is None else {"TMPDIR": TEMPORARY})}
"""In the environment of what installs pypid: temporary files are in memory, if there is room. Pip
compiles nothing, which would take longer than all else; Python compiles what it imports. (0 means
that pip does not compile, and 1 that it does.)
"""
IMPORT_ALL: Final = (
    "import pkgutil, importlib, pypid\n"
    "names = [m.name for m in pkgutil.walk_packages(pypid.__path__, 'pypid.')]\n"
    "assert len(names) > 20, names\n"
    "for name in names:\n"
    # these need python-ldap, which is not in `all`
    "    if not name.startswith('pypid.access.ldap.'): importlib.import_module(name)\n"
)


@functools.cache
def built_wheel() -> Path:
    """Our wheel, built once for each test process from a clean copy."""
    folder = Path(mkdtemp(prefix="pypid-wheel-", dir=TEMPORARY))
    register(shutil.rmtree, folder, ignore_errors=True)
    source = copy_source(folder / "source")
    done(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            folder,
            source,
        ],
        environ=near(),
    )
    (wheel,) = folder.glob("pypid_server-*.whl")
    return wheel


def python_of(version: str) -> Path:
    """An interpreter of that version; skips where this machine has none."""
    found = pythons().get(version)
    if found is None:
        raise SkipTest(f"no Python {version} on this machine")
    return found


def near() -> dict[str, str]:
    """Our environment, in which pip finds what pypid needs (on our Python) in a folder that was
    filled once; see also `RAW`.
    """
    return clean_environ(**RAW, **offline(wheels()))


def with_pip(folder: Path, python: Path, *what: str | Path) -> Path:
    """A new environment below `folder` with `what` in it (as pip's arguments); the folder of its
    executables.
    """
    done([python, "-m", "venv", folder])
    done(
        [folder / "bin/python", "-m", "pip", "install", "--quiet", *what],
        environ=near(),
        timeout=900,
    )
    return folder / "bin"


def quickly(folder: Path, python: Path, *what: str | Path) -> Path:
    """The same, with uv where it can be had."""
    environment(folder, python, *map(str, what))
    return folder / "bin"


def on_each_python(check: Callable[[Any, Path], None]) -> Callable[[type[Any]], type[Any]]:
    """One test for each supported Python, so that each is skipped or fails by its own name."""

    def decorate(case: type[Any]) -> type[Any]:
        for version in SUPPORTED:

            def test(self: Any, version: str = version) -> None:
                check(self, python_of(version))

            name = f"test_python_{version.replace('.', '_')}"
            test.__name__, test.__doc__, test.__qualname__ = (
                name,
                check.__doc__,
                f"{case.__qualname__}.{name}",
            )
            setattr(case, name, test)
        return case

    return decorate


class WheelTests(SynchronousTestCase):
    def test_contents(self) -> None:
        """The wheel holds every file of src/pypid and the plugin, and no package file that would
        hide Twisted's plugins.
        """
        source = built_wheel().parent / "source/src"
        wanted = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
        wanted = {name for name in wanted if ".egg-info" not in name and "__pycache__" not in name}
        with zipfile.ZipFile(built_wheel()) as wheel:
            names = {
                name for name in wheel.namelist() if not re.search(r"\.(dist-info|data)/", name)
            }
            self.assertEqual(wheel.read("pypid/pypid.ini"), (ROOT / "etc/pypid.ini").read_bytes())
        self.assertEqual(names, wanted)
        self.assertIn("twisted/plugins/pypid_plugin.py", names)
        self.assertFalse(names & {"twisted/__init__.py", "twisted/plugins/__init__.py"})

    def test_requirements(self) -> None:
        """Twisted's HTTP/2 parts are not asked for, Twisted 24.7 is enough; `all` is the sum of the
        optional parts but LDAP.
        """
        with zipfile.ZipFile(built_wheel()) as wheel:
            (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = BytesParser().parsebytes(wheel.read(name))
        needs = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
        twisted = next(need for need in needs if need.name == "twisted")
        self.assertTrue(twisted.specifier.contains(OLDEST_TWISTED))
        self.assertNotIn("http2", twisted.extras)
        self.assertFalse({need.name for need in needs} & {"h2", "priority"})
        tools = {
            "all",
            "test",
            "docs",
            "ldap",
        }  # what ldap needs is built where it is installed, with a compiler
        extras = set(metadata.get_all("Provides-Extra", [])) - tools
        parts = {
            str(need).partition(";")[0]
            for extra in extras
            for need in needs
            if in_extra(need, extra)
        }
        self.assertEqual(
            {str(need).partition(";")[0] for need in needs if in_extra(need, "all")}, parts
        )


def in_extra(need: Requirement, extra: str) -> bool:
    """Whether only that extra asks for it."""
    return (
        need.marker is not None
        and need.marker.evaluate({"extra": extra})
        and not need.marker.evaluate({"extra": ""})
    )


def _installs(case: SynchronousTestCase, python: Path) -> None:
    """`pip install` of the wheel gives this Python a `twistd` that lists pypid and a `pypid`
    command; nothing conflicts.
    """
    with scratch(within=TEMPORARY) as folder:
        what = ("--constraint", ROOT / "constraints.txt", f"{built_wheel()}[all]")
        install = (
            with_pip if python == python_of(OURS) else quickly
        )  # pip once: it takes ten times as long
        place = install(folder / "venv", python, *what)
        case.assertRegex(
            done([place / "twistd", "--help"], cwd=folder),
            r"(?m)^ +pypid +A team's Python package index",
        )
        case.assertIn("check-config", done([place / "pypid", "--help"], cwd=folder))
        done([place / "python", "-c", IMPORT_ALL], cwd=folder)
        # not by our own pip, which may be too old for that Python: Debian 12's does not know 3.12
        done(
            [client("uv"), "pip", "check", "--no-config", "--python", place / "python"], cwd=folder
        )
        done([place / "python", "-c", "import h2"], cwd=folder, status=1)
        done([place / "python", "-c", "import priority"], cwd=folder, status=1)


@on_each_python(_installs)
class InstallTests(SynchronousTestCase):
    pass


class OtherInstallTests(SynchronousTestCase):
    def test_oldest_twisted(self) -> None:
        """With the oldest Twisted that setup.py allows, every module can be imported and `twistd
        --help` lists pypid.
        """
        with scratch(within=TEMPORARY) as folder:
            place = quickly(
                folder / "venv",
                python_of(OURS),
                f"{built_wheel()}[all]",
                f"twisted=={OLDEST_TWISTED}",
            )
            done([place / "python", "-c", IMPORT_ALL], cwd=folder)
            self.assertIn("pypid", done([place / "twistd", "--help"], cwd=folder))

    def test_editable(self) -> None:
        """`pip install -e .` gives a `twistd` that lists pypid, and `twistd -y pypid.tac` there
        serves and stops cleanly.
        """
        port = free_port()
        with scratch(within=TEMPORARY) as folder:
            source = copy_source(folder / "checkout")
            limits = ("--constraint", source / "constraints.txt")
            place = quickly(
                folder / "venv", python_of(OURS), *limits, f"{built_wheel()}[all]", "pip"
            )  # all but ours stays as it is
            # what is not ours is there now, and was had quickly
            done([place / "python", "-m", "pip", "uninstall", "--quiet", "--yes", "pypid-server"])
            install = [
                place / "python",
                "-m",
                "pip",
                "install",
                "--quiet",
                *limits,
                "--editable",
                f"{source}[all]",
            ]
            done(install, environ=near(), timeout=900)
            self.assertIn("pypid", done([place / "twistd", "--help"], cwd=folder))
            command: list[str | Path] = [
                place / "twistd",
                "--nodaemon",
                "--pidfile=",
                "-y",
                "pypid.tac",
            ]
            environ = clean_environ(
                PYPID_SERVER_LISTEN=f"tcp:{port}:interface=127.0.0.1", PYPID_ADVISORIES_SOURCE=""
            )
            with running(command, folder / "log", cwd=source, environ=environ) as daemon:
                daemon.until_answers(f"http://127.0.0.1:{port}/simple/")
                daemon.stop_in_order()


class OneFileTests(SynchronousTestCase):
    def check_size(self, binary: Path) -> None:
        """The first start unpacks the binary, so it has no file that only tests or tools need."""
        with zipfile.ZipFile(binary) as archive:
            names = [name.removeprefix("site-packages/") for name in archive.namelist()]
        self.assertLess(len(names), 4000)
        packages = {name.partition("/")[0] for name in names}
        self.assertFalse(packages & {"hypothesis", "mypy", "pip", "ruff", "setuptools", "sphinx"})
        self.assertFalse([name for name in names if "/tests/" in name or "/test/" in name])
        self.assertIn("bin/uv", names)

    def test_binary(self) -> None:
        """`make binary` builds one file that serves on a bare Python, and says which Python it
        needs to another one.
        """
        port = free_port()
        with scratch(within=TEMPORARY) as folder:
            source = copy_source(folder / "checkout")
            given = ("--old-file=.venv/bin/python", f"BIN={BIN}")  # the Python that runs this test
            done(["make", *given, "binary"], cwd=source, environ=near(), timeout=600)
            binary = shutil.copy(source / "dist/pypid", folder / "pypid")
            self.check_size(binary)
            config = configure(folder, f"tcp:{port}:interface=127.0.0.1")
            environ = clean_environ(SHIV_ROOT=str(folder / "unpacked"))
            command: list[str | Path] = [python_of(OURS), "-I", binary, "serve", "--config", config]
            with running(command, folder / "log", cwd=folder, environ=environ) as daemon:
                daemon.until_answers(f"http://127.0.0.1:{port}/simple/", within=60)
                daemon.stop_in_order()
            other = next(
                (version for version in SUPPORTED if version != OURS and version in pythons()), None
            )
            if other is not None:
                said = done(
                    [python_of(other), binary, "--help"], cwd=folder, environ=environ, status=1
                )
                self.assertIn(f"was built for Python {OURS}", said)


class MakeTests(SynchronousTestCase):
    def python_for(self, user: int | None) -> Path:
        """A Python that `user` may run and that can make environments."""
        for python in (
            Path("/usr/bin/python3"),
            *(pythons()[version] for version in SUPPORTED if version in pythons()),
        ):
            check = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
            try:
                answer = subprocess.run(
                    [python, "-c", check], capture_output=True, user=user, cwd="/", check=False
                )
            except OSError:
                continue
            if answer.returncode == 0:
                return python
        if in_ci():
            raise AssertionError(
                "no Python 3.11 that another user can run: apt install python3-venv"
            )
        raise SkipTest("no Python 3.11 that another user can run (apt install python3-venv)")

    def test_run(self) -> None:
        """`make run` by a user who is not root sets all up and serves; Ctrl-C stops it without
        litter; again takes 2 s.
        """
        user = 65534 if os.geteuid() == 0 else None  # nobody
        python = self.python_for(user)
        port = free_port()
        with scratch(within=TEMPORARY) as folder:
            folder.chmod(0o711)
            source = copy_source(folder / "checkout")
            (folder / "home").mkdir()
            for path in (source, *source.rglob("*"), folder / "home"):
                if user is not None:
                    os.lchown(path, user, user)
            before = {path.name for path in source.iterdir()}
            environ = (
                clean_environ(
                    HOME=str(folder / "home"),
                    PYPID_ADVISORIES_SOURCE="",
                    PYPID_SERVER_LISTEN=f"tcp:{port}:interface=127.0.0.1",
                )
                | RAW
            )
            if version_of(python) == OURS:  # where ours lie, another user may not read
                environ |= offline(shutil.copytree(wheels(), folder / "wheels"))
            command = ["make", "run", f"PYTHON={python}"]
            for within in 300.0, 2.0:
                started = time.monotonic()
                with running(
                    command, folder / "log", cwd=source, environ=environ, user=user
                ) as make:
                    make.until_answers(f"http://127.0.0.1:{port}/simple/", within)
                    self.assertLess(time.monotonic() - started, within)
                    os.killpg(make.process.pid, signal.SIGINT)  # what a terminal does for Ctrl-C
                    make.process.wait(30)
                    self.assertIn(
                        "pypid has stopped; all changes that it confirmed are stored", make.output()
                    )
                    self.assertNotIn("Traceback", make.output())
            self.check_upgrade(source, environ, user)
            litter = {path.name for path in source.iterdir()} - before
            self.assertEqual(litter, {".venv", "var"})

    def check_upgrade(self, source: Path, environ: dict[str, str], user: int | None) -> None:
        """An installation of the former name is replaced: there is one distribution with the
        command `pypid`.
        """
        venv = source / ".venv"
        (packages,) = venv.glob("lib/python3*/site-packages")
        former = packages / "pypid-0.1.0.dist-info"
        former.mkdir()
        (former / "METADATA").write_text("Metadata-Version: 2.1\nName: pypid\nVersion: 0.1.0\n")
        (former / "RECORD").write_text(
            "pypid-0.1.0.dist-info/METADATA,,\npypid-0.1.0.dist-info/RECORD,,\n../../../bin/pypid,,\n"
        )
        for path in (former, *former.iterdir()):
            if user is not None:
                os.chown(path, user, user)
        (venv / "run-all.stamp").unlink()
        command = ["make", ".venv/run-all.stamp"]
        subprocess.run(
            command, cwd=source, env=environ, user=user, stdout=subprocess.DEVNULL, check=True
        )
        self.assertFalse(former.exists())
        said = done([venv / "bin/pypid", "--version"], cwd=source)
        self.assertEqual(said.strip(), f"pypid {__version__}")
        listed = done([venv / "bin/python", "-m", "pip", "list", "--format=freeze"], cwd=source)
        names = sorted(re.findall(r"^(pypid[\w-]*)==", listed, re.MULTILINE))
        self.assertEqual(names, ["pypid-pypicloud", "pypid-server"])
