"""The `stage` command."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from shlex import split

from pypid.cli import stage
from tests.cli.commands import CommandCase
from tests.distributions import wheel_filename


class StageCommandTests(CommandCase):
    """Over a whole server and its control socket."""

    def create(self, *words: str) -> str:
        """The name of a new stage of alice's."""
        out = self.prints("stage create --user alice --json", *words)
        name: str = json.loads(out)["name"]
        return name

    def test_create(self) -> None:
        """It prints commands to upload and to install, with absolute URLs, and with a place for the
        token that they need.
        """
        out = self.prints("stage create --user alice --name release-42 --expires 12h")
        address = self.pypid.app.settings.address.rstrip("/") + "/stage-release-42"
        self.assertIn("stage-release-42: created, until 2026-", out)
        with_token = address.replace("://", "://__token__:$UV_PUBLISH_TOKEN@")
        for line in (
            "$(pypid token create stage --user alice --can read --can publish --quiet)",
            f"twine upload --repository-url {address}/legacy/ dist/*",
            f"uv publish --publish-url {address}/legacy/ dist/*",
            f"pip install --index-url {with_token}/simple/ PROJECT",
            f"uv pip install --default-index {with_token}/simple/ PROJECT",
            "pypid stage publish stage-release-42",
        ):
            self.assertIn(line, out)

    def test_configuration(self) -> None:
        """Printed commands name the configuration that this command was given."""
        file = Path(self.mktemp()) / "a b.ini"
        file.parent.mkdir()
        file.touch()
        words = ("--config", str(file))
        out = self.prints("stage create --user alice --name x", *words)
        for text in (out, self.prints("stage show x", *words)):
            option = f"--config '{file}'"
            self.assertIn(f"--can read --can publish --quiet {option})", text)
            self.assertIn(f"pypid stage publish stage-x {option}\n", text)
        self.assertNotIn("--config", self.prints("stage show x"))

    def test_without_user(self) -> None:
        """The command says which users can have the token; the operator causes no warning."""
        _, out, problem = self.run_command("stage create --name x")
        self.assertIn("Create a token (USER: an administrator, or a user in --write):", out)
        self.assertIn("--user USER ", out)
        self.assertEqual(problem, "")

    def test_quotes_for_the_shell(self) -> None:
        """A user name of a directory may have a space or a quote."""
        urls = {"index": "https://pypi.example/simple/", "upload": "https://pypi.example/legacy/"}
        answer = {**urls, "name": "stage-a", "state": "open", "owner": "Ann O'Hara"}
        with redirect_stdout(StringIO()) as out:
            stage._print_urls(answer)
        [line] = [line for line in out.getvalue().splitlines() if "$(" in line]
        words = split(line.partition("$(")[2].rstrip(")"))
        self.assertEqual(words[words.index("--user") + 1], "Ann O'Hara")

    def test_until_publication(self) -> None:
        """A file is listed by the stage, then by its base."""
        name = self.create("--write", "bob")
        filename = wheel_filename("spam")
        self.stage("spam", "1.0", name)
        out = self.prints(f"stage show {name}")
        for line in ("state:   open", "owner:   alice", f"spam: {filename}", "1 file of 1 project"):
            self.assertIn(line, out)
        without = name.removeprefix("stage-")
        self.assertIn(f"{name}: published in default", self.prints(f"stage publish {without}"))
        self.assertEqual(self.pypid.get("/simple/spam/").status, 200)
        out = self.prints("stage list")
        for word in (name, "default", "alice", "published", "1 stage"):
            self.assertIn(word, out)
        self.assertIn(f"{name}: deleted", self.prints(f"stage delete {name}"))
        self.assertIn("0 stages", self.prints("stage list"))
        self.assertEqual(self.pypid.get("/simple/spam/").status, 200)

    def test_mistakes(self) -> None:
        """What is wrong is said."""
        for line, word in (
            ("stage create --base missing", "no index 'missing'"),
            ("stage create --expires soon", "duration"),
            ("stage show stage-missing", "no stage 'stage-missing'"),
            (f"stage publish {self.create()}", "no files"),
        ):
            status, _, problem = self.run_command(line)
            self.assertNotIn(status, (None, 0), line)
            self.assertIn(word, f"{status} {problem}", line)
