"""The command line: its help, its exit statuses, and the requests that it makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pypid import cli
from pypid.core.errors import NoSuchProject
from pypid.daemon.control import ControlRefused, ControlRequest
from tests.cli.command_lines import commands_below, problem_of, pypid_lines
from tests.cli.commands import RecordedCase
from tests.database.test_pypicloud_people import PEOPLE, pypiclouds

COMMANDS = [
    "serve",
    "init",
    "status",
    "reload",
    "check-config",
    "convert-config",
    "project",
    "user",
    "group",
    "right",
    "token",
    "index",
    "promote",
    "block",
    "approval",
    "trust",
    "storage",
    "cache",
    "audit",
    "downloads",
    "advisory",
    "backup",
    "log-level",
    "export",
    "client-config",
    "gen-password",
    "gen-secret",
    "completion",
]


class HelpTests(RecordedCase):
    def test_each(self) -> None:
        """Each command explains itself in a sentence."""
        for command in COMMANDS:
            status, out, err = self.run_command(command, "--help")
            self.assertEqual((status, err), (0, ""))
            self.assertIn(f"usage: pypid {command}", out)
            self.assertIn(".\n", out)

    def test_wrong(self) -> None:
        """A wrong command line is status 2, on standard error."""
        for words in (
            ["nonsense"],
            ["project", "yank"],
            ["project"],
            ["status", "spam"],
            ["status", "spam", "sleepy"],
            ["user", "admin", "carol"],
        ):
            status, out, err = self.run_command(*words)
            self.assertEqual((status, out), (2, ""))
            self.assertIn("usage: pypid", err)


class GrammarTests(RecordedCase):
    def test_imports(self) -> None:
        """A command imports the module of its noun only: each start waits for what is imported."""
        for words in (["project", "yank", "--help"], ["project", "--help"], ["status", "-h"]):
            code = (
                f"import sys; from pypid import cli\ntry: cli.main({words})\n"
                "except SystemExit: pass\n"
                "found = {name for name in sys.modules if name.startswith('pypid.cli.')}\n"
                "print(*sorted(found), 'twisted' in sys.modules, file=sys.stderr)"
            )
            ended = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            *modules, has_twisted = ended.stderr.split()
            own = "pypid.cli.status" if words[0] == "status" else "pypid.cli.project"
            shared = {f"pypid.cli.{name}" for name in ("command", "grammar", "output", "request")}
            self.assertEqual(set(modules) - shared - {"pypid.cli.request"}, {own})
            self.assertEqual(has_twisted, "False")

    def test_suggestions(self) -> None:
        """A word that is not known is refused with the similar ones, in one short line."""
        for line, hint in (
            ("statsu", "Did you mean `pypid status`? "),
            ("project yankk x 1", "Did you mean `pypid project yank` or `pypid project unyank`? "),
            ("user lst", "Did you mean `pypid user list`? "),
            ("group ad-user devs carol", "Did you mean `pypid group add-user`? "),
            ("user create x --adm1n", "unknown option --adm1n. Did you mean '--admin'?"),
            ("status --jsn=1", "unknown option --jsn. Did you mean '--json'?"),
            ("token create x --user y --can pubish", "'pubish' is not a valid value. Did you mean"),
            ("project set-status x y", "Choose from active, archived, quarantined, deprecated"),
            ("user list all", "unexpected argument 'all'"),
            ("delete-user x", "Did you mean `pypid user --help`? "),
            ("zzz", "unknown command 'zzz'. All commands: pypid --help"),
        ):
            status, out, err = self.run_command(*line.split())
            self.assertEqual((status, out), (2, ""), line)
            self.assertIn(hint, err)
            self.assertLess(len(err.splitlines()[-1]), 200)


class ExampleTests(RecordedCase):
    def test_examples(self) -> None:
        """Each command has an example of itself, and every example is a command line that can be
        parsed, with current names and without abbreviations.
        """
        tree = cli.parser()
        for name, parser in commands_below(tree):
            lines = [line for line in (parser.epilog or "").splitlines() if line.startswith("  ")]
            found = list(pypid_lines("\n".join(lines)))
            own = [words for words in found if words[: len(name)] == list(name)]
            self.assertNotEqual(own, [], name)
            for words in found:
                self.assertEqual(problem_of(words), None, words)


class RequestTests(RecordedCase):
    def test_requests(self) -> None:
        """What each command asks for; file names are told from versions, and odd
        words are quoted.
        """
        for words, method, url, document in (
            (
                ("project", "yank", "spam", "1.0", "--reason", "r"),
                "PUT",
                "/api/projects/spam/releases/1.0/yank",
                {"reason": "r"},
            ),
            (
                ("project", "yank", "spam", "spam-1.0.tar.gz"),
                "PUT",
                "/api/projects/spam/files/spam-1.0.tar.gz/yank",
                {"reason": ""},
            ),
            (
                ("project", "unyank", "spam", "1!2"),
                "DELETE",
                "/api/projects/spam/releases/1%212/yank",
                None,
            ),
            (
                ("project", "set-status", "spam", "archived"),
                "PUT",
                "/api/projects/spam/status",
                {"status": "archived", "reason": ""},
            ),
            (("project", "delete", "spam", "--yes"), "DELETE", "/api/projects/spam", None),
            (
                ("project", "delete", "a/../b", "1.0", "--yes"),
                "DELETE",
                "/api/projects/a%2F..%2Fb/releases/1.0",
                None,
            ),
            (("project", "unreserve", "spam"), "DELETE", "/api/names/spam", None),
        ):
            status, out, _ = self.run_command(*words)
            self.assertEqual(status, None)
            self.assertIn("spam-1.0.tar.gz: ", out)
            self.assertEqual(self.asked.pop(), ControlRequest(method, url, document))

    def test_adoption(self) -> None:
        """rebuild and adopt tell each file; one that was refused makes the status 1."""
        adopted = {"key": "a-1.zip", "outcome": "adopted", "problems": []}
        refused = {"key": "b-1.zip", "outcome": "refused", "problems": ["no PKG-INFO"]}
        self.answer = {"projects": 2, "changed": 1, "adopted": [adopted], "also_upstream": []}
        status, out, _ = self.run_command("storage", "rebuild", "spam")
        self.assertEqual(
            (status, out),
            (
                None,
                "a-1.zip: adopted\n1 file adopted; 2 projects known before, 1 of them changed.\n",
            ),
        )
        self.answer["adopted"].append(refused)
        status, out, said = self.run_command("storage", "import", "folder")
        self.assertEqual(status, 1)
        self.assertIn("b-1.zip: refused\n    no PKG-INFO\n1 file adopted, 1 refused; ", out)
        self.assertIn("[upstream] reserved", said)
        self.assertEqual(
            [q.url for q in self.asked], ["/api/rebuild/spam", "/api/adopt/survey", "/api/adopt"]
        )
        folder = str(Path("folder").resolve())
        self.assertEqual(self.asked[1].document, {"folder": folder})
        self.assertEqual(self.asked[2].document, {"folder": folder, "cached": []})

    def test_adopts_a_bucket(self) -> None:
        """adopt without a folder is for all of the storage; what is left alone loses nothing, and
        the status is 0.
        """
        left = {"key": "x.txt", "outcome": "left", "problems": ["it stays where it is."]}
        self.answer = {"projects": 0, "changed": 0, "adopted": [left], "also_upstream": []}
        status, out, _ = self.run_command("storage", "import")
        self.assertEqual(
            (status, [(q.url, q.document) for q in self.asked]),
            (
                None,
                [
                    ("/api/adopt/survey", {"folder": None}),
                    ("/api/adopt", {"folder": None, "cached": []}),
                ],
            ),
        )
        self.assertIn("x.txt: left\n    it stays where it is.\n", out)

    def test_import_of_projects_that_exist_upstream(self) -> None:
        """The options say which are cached; without an answer for each nothing is imported."""
        same = {"project": "spam", "same": ["spam-1.zip"], "other": []}
        other = {"project": "eggs", "same": [], "other": ["eggs-1.zip"]}
        self.answer = {"projects": 0, "changed": 0, "adopted": [], "also_upstream": [same, other]}
        for options, cached in (
            (("--cached", "all", "--local", "Eggs"), ["spam"]),
            (("--cached", "all", "--local", "all"), ["spam"]),
            (("--cached", "spam", "--cached", "eggs"), ["eggs", "spam"]),
            (("--local", "spam", "--local", "eggs"), []),
        ):
            self.asked.clear()
            status, _, _ = self.run_command("storage", "import", *options)
            self.assertIsNone(status)
            self.assertEqual(self.asked[-1].document, {"folder": None, "cached": cached})
        for options, names in (((), "spam, eggs"), (("--cached", "all"), "eggs")):
            self.asked.clear()
            status, _, said = self.run_command("storage", "import", *options)
            self.assertIn(f"also exist upstream: {names}. Nothing was imported.", status)
            self.assertEqual([q.url for q in self.asked], ["/api/adopt/survey"])
            self.assertIn("eggs also exists upstream: 1 file that upstream does not have", said)

    def test_cache_purge(self) -> None:
        """cache purge asks first, for all, a project, a file, or what is old; it
        tells what went.
        """
        self.answer = {
            "files": 1,
            "size": 10,
            "projects": [{"name": "ham", "files": 1, "size": 10, "last_access": ""}],
        }
        for words, said, url in (
            (["--yes"], "", "/api/cache"),
            ([], "yes\n", "/api/cache"),
            (["ham"], "yes\n", "/api/cache/ham"),
            (["ham", "ham-1.tar.gz", "--yes"], "", "/api/cache/ham/ham-1.tar.gz"),
            (["--older-than", "30d", "--yes"], "", "/api/cache?older_than=30d"),
            (["a/b", "--older-than", "3&d", "--yes"], "", "/api/cache/a%2Fb?older_than=3%26d"),
        ):
            status, out, _ = self.run_command("cache", "purge", *words, said=said)
            self.assertEqual(
                (status, self.asked.pop()), (None, ControlRequest("DELETE", url, None))
            )
            self.assertTrue(out.endswith("ham: 1 file, 10 bytes\nDeleted: 1 file, 10 bytes\n"), out)
        for words, said in (
            ([], "y\n"),
            ([], ""),
            (["ham"], "ham\n"),
            ([""], "yes\n"),
            (["", "--yes"], ""),
            (["ham", "", "--yes"], ""),
        ):
            status, _, _ = self.run_command("cache", "purge", *words, said=said)
            self.assertIn("nothing was deleted", status)
        self.assertEqual(self.asked, [])

    def test_no(self) -> None:
        """What pypid refuses, or cannot do, is its text and status 1."""
        for error in ControlRefused("not today"), NoSuchProject("spam"):
            self.answer = error
            self.assertEqual(
                self.run_command("project", "yank", "spam", "1.0")[0], f"pypid: {error}"
            )


class DeleteTests(RecordedCase):
    def test_confirmed(self) -> None:
        """Only the project's name confirms a deletion; another word, or nobody there, deletes
        nothing.
        """
        for said, asked in ("spam\n", 1), ("yes\n", 0), ("", 0):
            status, out, _ = self.run_command("project", "delete", "spam", "1.0", said=said)
            self.assertIn("This deletes 1.0 of spam permanently", out)
            self.assertEqual(len(self.asked), asked, said)
            if not asked:
                self.assertIn("nothing was deleted", status)
            self.asked.clear()


class PasswordTests(RecordedCase):
    def test_stdin(self) -> None:
        """A password from standard input becomes a hash, or a whole line; an empty
        one is refused.
        """
        status, out, _ = self.run_command("gen-password", "--stdin", said="secret\n")
        self.assertEqual(status, None)
        self.assertTrue(out.startswith("$argon2id$v=19$m=19456,t=2,p=1$"), out)
        _, out, _ = self.run_command("gen-password", "ann", "--stdin", said="secret\n")
        self.assertTrue(out.startswith("ann = $argon2id$"), out)
        self.assertNotIn("secret", out)
        status, out, _ = self.run_command("gen-password", "--stdin", said="\n")
        self.assertEqual(out, "")
        self.assertIn("an empty password cannot be used to log in", status)

    def test_nobody_there(self) -> None:
        """Where nobody can be asked, in a script, the way out is said; there is no traceback."""
        code = "from pypid.cli import main; main(['gen-password'])"
        ended = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            capture_output=True,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stdout), (1, b""))
        self.assertIn(b"--stdin", ended.stderr)
        self.assertNotIn(b"Traceback", ended.stderr)


class ConfigTests(RecordedCase):
    def short_folder(self) -> Path:
        """Return a folder in whose state folder a control socket fits."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    def test_check(self) -> None:
        """check-config prints what is in force, without a hash; of a bad file all problems, with
        status 1.
        """
        path = self.short_folder() / "pypid.ini"
        path.write_text("[server]\nmax_upload = 2G\n[users]\nann = $2b$12$" + "a" * 53 + "\n")
        status, out, _ = self.run_command("check-config", str(path))
        self.assertEqual(status, 0)
        self.assertIn("max_upload = 2G", out)
        self.assertIn("ann = (set)", out)
        self.assertNotIn("$2b$", out)
        path.write_text("[server]\nmax_upload = much\n[usrs]\n")
        status, out, _ = self.run_command("check-config", str(path))
        self.assertEqual(out, "")
        self.assertTrue(status.startswith("pypid: 2 problems in the configuration:\n"), status)

    def test_check_config_names_rights_that_a_takeover_would_drop(self) -> None:
        """pypicloud's accounts are read from its database, so what of them gets lost is said before
        the start.
        """
        folder = self.short_folder()
        dropped = "INSERT INTO pypicloud_user_permissions VALUES ('spam', 0, 1, 'bob');"
        pypiclouds(folder / "auth.db", PEOPLE.replace("('spam', 1, 0, 'bob'), ", "") + dropped)
        path = folder / "config.ini"
        path.write_text(
            "[app:main]\nuse = egg:pypicloud\nstorage.dir = /files\npypi.auth = sql\nauth.db.url "
            "= sqlite:///auth.db\n"
        )
        status, _, said = self.run_command("check-config", str(path))
        self.assertEqual(status, 0)
        self.assertIn("accounts: ", said)
        self.assertIn("may write spam and not read it: ", said)
        (folder / "auth.db").unlink()
        status, _, said = self.run_command("check-config", str(path))
        self.assertEqual(status, 0)
        self.assertIn("the accounts were not checked: ", said)
