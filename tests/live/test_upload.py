"""Every client that people publish with: to which URL, again, other bytes under the same name, and
without the right.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests import distributions as made
from tests.live.clients import client
from tests.live.daemon import PASSWORDS, IndexTestCase, LiveIndex, for_each
from tests.live.isolation import Ended, run, twine
from tests.live.projects import (
    Artifact,
    call,
    listed,
    page,
    sdist,
    source_tree,
    wheel,
)

PLACES: Final = ("/legacy/", "/legacy", "/", "/simple/")
FLIT: Final = '\n[build-system]\nrequires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"\n'
SETUP: Final = (
    "from distutils.core import setup\nsetup(name={name!r}, version={version!r}, "
    "py_modules=[{module!r}])\n"
)


class Attempt:
    """One try to publish: where to, what, and as whom."""

    def __init__(
        self,
        index: LiveIndex,
        folder: Path,
        name: str,
        version: str = "1.0",
        *,
        path: str = "/legacy/",
    ) -> None:
        self.url = index.url(path)
        self.folder = folder
        self.name = name
        self.version = version
        self.user = "alice"
        self.password = PASSWORDS["alice"]
        self.other = False

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """A wheel and an sdist; with `other` of other bytes under the same names."""
        module = f"{self.name.replace('-', '_')}.py"
        files = {module: b"eggs = 2\n" if self.other else b"eggs = 1\n"}
        described = made.metadata(
            self.name, self.version, metadata_version="2.4", requires_python=">=3.8"
        )
        tag = "py3-none-any"
        built = wheel(self.name, self.version, tag=tag, metadata_bytes=described, files=files)
        source = (
            sdist(self.name, self.version)
            if not self.other
            else sdist_of_other(self.name, self.version)
        )
        return built, source

    def dist(self, folder: Path) -> list[Path]:
        """The artifacts, in ``dist`` below `folder`."""
        return [artifact.into(folder / "dist") for artifact in self.artifacts]


def sdist_of_other(name: str, version: str) -> Artifact:
    """The sdist with one byte more inside."""
    files = {"more.txt": b"!"}
    return Artifact(made.sdist_filename(name, version), made.sdist(name, version, files=files))


def by_twine(attempt: Attempt, *options: str, which: str = "twine") -> Ended:
    """twine upload."""
    files = attempt.dist(attempt.folder)
    line = twine(attempt.url, attempt.user, attempt.password, *files, which=which)
    return run([*line, *options], attempt.folder)


def twine_6_1(attempt: Attempt, *options: str) -> Ended:
    """The last twine that sends an MD5."""
    return by_twine(attempt, *options, which="twine-6.1")


def uv_publish(attempt: Attempt, *options: str) -> Ended:
    """uv publish."""
    files = attempt.dist(attempt.folder)
    fixed = [client("uv"), "publish", "--trusted-publishing", "never", "--publish-url", attempt.url]
    return run(
        [*fixed, "-u", attempt.user, "-p", attempt.password, *options, *files], attempt.folder
    )


def poetry(attempt: Attempt, *options: str) -> Ended:
    """poetry publish."""
    project = source_tree(attempt.folder / attempt.name, attempt.name, attempt.version, "")
    attempt.dist(project)
    command = [client("poetry"), "publish", "--no-interaction", "--repository", "ours", *options]
    credentials = {
        "POETRY_HTTP_BASIC_OURS_USERNAME": attempt.user,
        "POETRY_HTTP_BASIC_OURS_PASSWORD": attempt.password,
    }
    return run(
        command,
        attempt.folder,
        cwd=project,
        POETRY_REPOSITORIES_OURS_URL=attempt.url,
        **credentials,
    )


def pdm(attempt: Attempt, *options: str) -> Ended:
    """pdm publish."""
    project = source_tree(attempt.folder / attempt.name, attempt.name, attempt.version, "")
    attempt.dist(project)
    command = [
        client("pdm"),
        "publish",
        "--no-build",
        "--repository",
        attempt.url,
        "-u",
        attempt.user,
        "-P",
        attempt.password,
    ]
    return run([*command, *options], attempt.folder, cwd=project)


def flit(attempt: Attempt, *options: str) -> Ended:
    """flit publish, which builds too: equal sources give equal bytes."""
    project = source_tree(attempt.folder / attempt.name, attempt.name, attempt.version, FLIT)
    if attempt.other:
        (project / "README.md").write_text("Other.\n")
    access = {
        "FLIT_USERNAME": attempt.user,
        "FLIT_PASSWORD": attempt.password,
        "FLIT_INDEX_URL": attempt.url,
    }
    return run(
        [client("flit"), "publish", *options],
        attempt.folder,
        cwd=project,
        SOURCE_DATE_EPOCH="1704067200",
        **access,
    )


def hatch(attempt: Attempt, *options: str) -> Ended:
    """hatch publish."""
    project = source_tree(attempt.folder / attempt.name, attempt.name, attempt.version, "")
    files = attempt.dist(project)
    command = [
        client("hatch"),
        "publish",
        "--no-prompt",
        "--repo",
        attempt.url,
        "-u",
        attempt.user,
        "-a",
        attempt.password,
    ]
    return run([*command, *options, *files], attempt.folder, cwd=project)


CLIENTS: Final[dict[str, Callable[..., Ended]]] = {
    "twine": by_twine,
    "twine 6.1": twine_6_1,
    "uv": uv_publish,
    "poetry": poetry,
    "pdm": pdm,
    "flit": flit,
    "hatch": hatch,
}


class UploadCase(IndexTestCase):
    def attempt(
        self, prefix: str, name: str, version: str = "1.0", *, path: str = "/legacy/"
    ) -> Attempt:
        """A try to publish a project that only this test has."""
        return Attempt(
            self.index,
            self.folder,
            f"{prefix}-{name.replace(' ', '-').replace('.', '-')}",
            version,
            path=path,
        )

    def well(self, ended: Ended) -> None:
        """It said that all is well."""
        self.assertEqual(ended.status, 0, ended.said)

    def badly(self, ended: Ended, *parts: str) -> None:
        """It failed, and showed what pypid had to say."""
        self.assertNotEqual(ended.status, 0, ended.said)
        said = " ".join(ended.said.replace("│", " ").split())
        for part in parts:
            self.assertIn(part, said)


class PlaceTests(UploadCase):
    @for_each(*CLIENTS)
    def publishes(self, name: str) -> None:
        """This client publishes a wheel and an sdist at /legacy/, /legacy, / and /simple/ (C60,
        C63, C73); at once both are listed, with what the file itself says (C69, C74).
        """
        for number, path in enumerate(PLACES):
            attempt = self.attempt("up", name, f"{number}.0", path=path)
            self.well(CLIENTS[name](attempt))
            files = [
                f
                for f in page(self.index, attempt.name)["files"]
                if f"-{number}.0" in f["filename"]
            ]
            self.assertEqual(len(files), 2)
            self.assertEqual(files[0].get("requires-python"), ">=3.8")
            # flit and poetry put the slash behind what they are told
            self.answered(
                "POST", f"{path.rstrip('/')}/" if name in ("flit", "poetry") else path, times=2
            )


class AgainTests(UploadCase):
    @for_each("twine", "twine 6.1", "uv", "flit", "hatch")
    def again(self, name: str) -> None:
        """Publishing the same bytes again with this client exits with 0 and changes nothing (C65,
        C67).
        """
        attempt = self.attempt("again", name)
        self.well(CLIENTS[name](attempt))
        before = page(self.index, attempt.name)
        self.well(CLIENTS[name](attempt))
        self.assertEqual(page(self.index, attempt.name), before)

    @for_each("twine 6.1", "poetry", "pdm")
    def skip_existing(self, name: str) -> None:
        """With --skip-existing this client exits with 0 where the name is taken, by the same bytes
        or others (C66, C67).
        """
        attempt = self.attempt("skip", name)
        self.well(CLIENTS[name](attempt))
        before = page(self.index, attempt.name)
        self.well(CLIENTS[name](attempt, "--skip-existing"))
        attempt.other = True
        self.well(CLIENTS[name](attempt, "--skip-existing"))
        self.assertEqual(page(self.index, attempt.name), before)

    def test_check_url(self) -> None:
        """`uv publish --check-url` sends nothing that is there already (C67), and refuses other
        bytes before it sends them.
        """
        attempt = self.attempt("check", "uv")
        option = ("--check-url", self.index.url())
        self.well(uv_publish(attempt, *option))
        self.well(uv_publish(attempt, *option))
        self.answered("POST", "/legacy/", times=2)
        self.assertEqual(
            sum(answer.method == "POST" for answer in self.index.answers(self.since)), 2
        )
        attempt.other = True
        self.badly(uv_publish(attempt, *option))

    def test_hatch_reads_the_list(self) -> None:
        """hatch looks at <upload>/+simple/<project>/ before it publishes, and sends no file that is
        listed there (C2, C115).
        """
        attempt = self.attempt("plus", "hatch")
        self.well(hatch(attempt))
        self.well(hatch(attempt))
        self.assertEqual(
            sum(answer.method == "POST" for answer in self.index.answers(self.since)), 2
        )

    @for_each(*CLIENTS)
    def other_bytes(self, name: str) -> None:
        """Other bytes under a name that is taken are refused, and this client shows
        why (C66, C70).
        """
        attempt = self.attempt("other", name)
        self.well(CLIENTS[name](attempt))
        before = page(self.index, attempt.name)
        attempt.other = True
        ended = CLIENTS[name](attempt)
        if name == "hatch":  # it goes by the names on the page, and sends nothing
            self.well(ended)
        else:
            # pdm shows the status alone, whatever comes with it
            self.badly(ended, "400" if name == "pdm" else "File already exists")
        self.assertEqual(page(self.index, attempt.name), before)


class RefusedTests(UploadCase):
    @for_each(*CLIENTS)
    def wrong_password(self, name: str) -> None:
        """With wrong credentials nothing is stored, and this client says that it is the credentials
        (C90, C91).
        """
        attempt = self.attempt("wrong", name)
        # each is somebody else: after some wrong passwords of one user the answer would be 429
        attempt.user, attempt.password = f"nobody-{attempt.name}", "not-the-password"
        self.badly(CLIENTS[name](attempt), "401")
        self.assertNotIn(attempt.name, names(self.index))
        self.answered("POST", "/legacy/", status=401)

    @for_each(*CLIENTS)
    def without_right(self, name: str) -> None:
        """Who may not publish gets 403, and this client shows why (C91, C70)."""
        attempt = self.attempt("right", name)
        attempt.user, attempt.password = "bob", PASSWORDS["bob"]
        self.badly(CLIENTS[name](attempt), "403")
        self.assertNotIn(attempt.name, names(self.index))
        self.answered("POST", "/legacy/", status=403)


def names(index: LiveIndex) -> str:
    """All the names that the index has."""
    return call(index, "GET", "/api/projects").decode()


class SetupTests(UploadCase):
    @for_each("2.7", "3.6", "3.11")
    def setup_py(self, version: str) -> None:
        """`setup.py sdist upload` of this Python's distutils publishes at /legacy/, /legacy, / and
        /simple/ (C60, C61).
        """
        python = client(f"setup.py-on-{version}")
        name = f"distutils-{version.replace('.', '-')}"
        for number, path in enumerate(PLACES):
            project = self.folder / f"{number}"
            project.mkdir()
            words = {"name": name, "version": f"{number}.0", "module": "spam"}
            (project / "setup.py").write_text(SETUP.format(**words))
            (project / "spam.py").write_text("eggs = 1\n")
            (self.folder / ".pypirc").write_text(
                f"[distutils]\nindex-servers =\n    ours\n[ours]\nrepository: "
                f"{self.index.url(path)}\n"
                f"username: alice\npassword: {PASSWORDS['alice']}\n"
            )
            command = [python, "setup.py", "sdist", "upload", "-r", "ours"]
            self.well(run(command, self.folder, cwd=project, SETUPTOOLS_USE_DISTUTILS="stdlib"))
            self.answered("POST", path)
        files = listed(self.index, name)
        self.assertEqual(files, [f"{name}-{number}.0.tar.gz" for number in range(4)])
