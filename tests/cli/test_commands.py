"""The command line: its help, its exit statuses, and the requests that it makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from pypid import cli
from pypid.core.errors import NoSuchProject
from pypid.daemon.control import ControlRefused, ControlRequest
from tests.access.sql.test_pypicloud_people import PEOPLE, pypiclouds
from tests.cli.command_lines import commands_below, problem_of, pypid_lines
from tests.cli.commands import RecordedCase

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
    "acl",
    "client-config",
    "gen-password",
    "gen-secret",
    "completion",
]


class HelpTests(RecordedCase):
    def test_nothing(self) -> None:
        """Without a word it prints its help."""
        status, out, err = self.run_command()
        self.assertEqual((status, err), (0, ""))
        for command in COMMANDS:
            self.assertIn(f"    {command}", out)

    def test_each(self) -> None:
        """Each command explains itself in a sentence."""
        for command in COMMANDS:
            status, out, err = self.run_command(command, "--help")
            self.assertEqual((status, err), (0, ""))
            self.assertIn(f"usage: pypid {command}", out)
            self.assertIn(".\n", out)

    def test_alone(self) -> None:
        """A command is known without the others, wherever it is declared."""
        actions = cli.parser()._subparsers._group_actions  # type: ignore[union-attr]
        self.assertEqual(list(actions[0].choices or ()), COMMANDS)
        self.assertEqual(list(cli.COMMANDS), COMMANDS)
        for name, module in cli.COMMANDS.items():
            self.assertIn(name, cli.parser((module,))._subparsers._group_actions[0].choices)  # type: ignore

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
            self.assertEqual(set(modules) - shared - {"pypid.cli.prompt"}, {own})
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

    def test_storage_of_an_index(self) -> None:
        """The requests go below the index, which has no upstream to compare an import with."""
        self.answer = {"projects": 0, "changed": 0, "adopted": [], "also_upstream": []}
        for words in ("rebuild", "spam"), ("rebuild",), ("import",):
            self.assertIsNone(self.run_command("storage", *words, "--index", "team-a")[0])
        urls = ["/team-a/api/rebuild/spam", "/team-a/api/rebuild", "/team-a/api/adopt"]
        self.assertEqual([q.url for q in self.asked], urls)
        self.assertIsNone(self.run_command("storage", "import", "--index", "default")[0])
        self.assertEqual([q.url for q in self.asked[-2:]], ["/api/adopt/survey", "/api/adopt"])
        outcomes = dict.fromkeys(("moved", "would-move", "there", "archived", "failed"), 0)
        self.answer = {"projects": 0, "seen": 0, "due": 0, "outcomes": outcomes, "size": 0}
        options = ("--older-than", "180d", "--keep", "3", "--class", "GLACIER_IR")
        self.run_command("storage", "tier", *options, "--index", "team-a")
        self.assertEqual(self.asked[-1].url, "/team-a/api/tier")

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

    def test_import_of_everything_as_local(self) -> None:
        """With --local all upstream is not asked; the projects that it has are named afterwards."""
        self.answer = {"projects": 0, "changed": 0, "adopted": [], "also_upstream": ["eggs"]}
        status, _, said = self.run_command("storage", "import", "--local", "all")
        self.assertEqual([q.url for q in self.asked], ["/api/adopt"])
        self.assertIsNone(status)
        self.assertIn("these projects are local now, and also exist upstream: eggs.", said)

    def test_odd_keys(self) -> None:
        """What somebody has named a file by moves no cursor."""
        odd = {
            "key": "a\x1b[2J\nb-1.zip: adopted",
            "outcome": "left",
            "problems": ["not \x1b[31m."],
        }
        self.answer = {"projects": 0, "changed": 0, "adopted": [odd], "also_upstream": []}
        _, out, _ = self.run_command("storage", "import")
        self.assertNotIn("\x1b", out)
        self.assertIn("a\\x1b[2J\\nb-1.zip: adopted: left\n", out)

    def test_json(self) -> None:
        """--json prints the answer as it came."""
        _, out, _ = self.run_command("project", "yank", "spam", "1.0", "--json")
        self.assertEqual(out, '{\n  "changed": [\n    "spam-1.0.tar.gz"\n  ]\n}\n')

    def test_why(self) -> None:
        """why tells what a name is, what was heard of it, and what is hidden until when; of one
        file only that.
        """
        cooldown = {
            "filename": "spam-2.0.tar.gz",
            "ours": False,
            "kept": True,
            "visible": False,
            "rule": "cooldown",
            "because": "it is too young",
            "until": "2026-01-23T10:00:00.500000Z",
        }
        self.answer = {
            "name": "spam",
            "status": "theirs",
            "says": "not local, so pypid looks it up upstream",
            "requested_from": "public",
            "taken_from": [],
            "local_in": ["team"],
            "not_asked": None,
            "not_shown": None,
            "ours": None,
            "upstream": {
                "asked": "2026-01-20T10:00:00Z",
                "index": "https://up.example/",
                "status": "active",
                "files": 3,
            },
            "failure": None,
            "outage": {"since": "2026-01-20T11:00:00Z", "error": "nobody answers."},
            "visible": {"ours": 0, "kept": 1, "upstream": 1},
            "hidden": [cooldown],
        }
        status, out, _ = self.run_command("project", "why", "Spam")
        self.assertEqual((status, self.asked.pop().url), (None, "/api/why/Spam"))
        for line in (
            "spam: the name is not local, so pypid looks it up upstream.",
            (
                "Last answer of https://up.example/ (2026-01-20 10:00:00 UTC): 3 files, status "
                "active."
            ),
            "Indexes with a local project of this name: team.",
            "Upstream is unreachable since 2026-01-20 11:00:00 UTC: nobody answers.",
            "Visible files: 0 local, 1 cached, 1 upstream only.",
            (
                "1 file hidden, it is too young\n"
                "  spam-2.0.tar.gz; visible from 2026-01-23 10:00:00 UTC"
            ),
        ):
            self.assertIn(f"{line}\n", out)
        self.answer["hidden"] = [{**cooldown, "filename": f"spam-{n}.whl"} for n in range(4316)]
        self.answer["hidden"].append({**cooldown, "because": "it is blocked", "until": None})
        _, out, _ = self.run_command("project", "why", "spam")
        self.assertIn("1 file hidden, it is blocked\n  spam-2.0.tar.gz\n", out)
        self.assertRegex(out, r"4,?316 files hidden, it is too young\n  spam-4315.whl; visible")
        self.assertIn("  and 4311 older ones, which --all lists\n", out)
        self.assertEqual(len(out.splitlines()), 14)
        every = self.run_command("project", "why", "spam", "--all")[1]
        self.assertEqual(every.count("spam-"), 4317)
        del self.answer["hidden"]
        self.answer |= {"upstream": None, "outage": None, "not_asked": "reserved", "file": cooldown}
        _, out, _ = self.run_command("project", "why", "spam", "a b")
        self.assertEqual(self.asked.pop().url, "/api/why/spam/a%20b")
        self.assertIn("The name is not sent upstream: reserved.\nspam-2.0.tar.gz: hidden", out)
        self.answer["file"] = {**cooldown, "visible": True, "because": None, "until": None}
        self.assertIn(
            "spam-2.0.tar.gz: visible, cached\n", self.run_command("project", "why", "spam", "x")[1]
        )

    def test_cache_list(self) -> None:
        """cache list is a table with sums and the limit; of a project, its files."""
        ham = {"name": "ham", "files": 2, "size": 3 << 20, "last_access": "2026-01-20T10:00:00Z"}
        spam = {
            "name": "strawberry",
            "files": 12,
            "size": 999,
            "last_access": "2026-01-19T10:00:00Z",
        }
        self.answer = {
            "files": 14,
            "size": (3 << 20) + 999,
            "limit": 5 << 30,
            "projects": [ham, spam],
        }
        status, out, _ = self.run_command("cache", "list")
        self.assertEqual(
            (status, self.asked.pop()), (None, ControlRequest("GET", "/api/cache", None))
        )
        self.assertEqual(
            out,
            "PROJECT     FILES       SIZE  LAST REQUEST (UTC)\n"
            "ham             2    3.0 MiB    2026-01-20 10:00\n"
            "strawberry     12  999 bytes    2026-01-19 10:00\n"
            "2 projects, 14 files, 3.0 MiB of at most 5.0 GiB ([upstream] max_cache)\n",
        )
        self.answer = {"files": 0, "size": 0, "limit": None, "projects": []}
        self.assertEqual(
            self.run_command("cache", "list")[1],
            "0 projects, 0 files, 0 bytes (no limit: [upstream] max_cache is empty)\n",
        )
        files = [
            {
                "filename": "ham-1.tar.gz",
                "size": 1536,
                "last_access": "2026-01-19T10:00:00Z",
                "complete": True,
            }
        ]
        files.append({**files[0], "filename": "ham-2-py3-none-any.whl", "complete": False})
        self.answer = {"name": "ham", "size": 3072, "limit": None, "files": files}
        out = self.run_command("cache", "list", "ham")[1]
        self.assertEqual(self.asked.pop().url, "/api/cache/ham")
        self.assertIn(
            (
                "ham-2-py3-none-any.whl (incomplete)  1.5 KiB    2026-01-19 10:00\n1 file of ham, "
                "3.0 KiB\n"
            ),
            out,
        )

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

    def test_cache_help(self) -> None:
        """cache without a verb is a wrong command line; each verb teaches by example."""
        self.assertEqual(self.run_command("cache")[0], 2)
        for verb in "list", "purge":
            status, out, _ = self.run_command("cache", verb, "--help")
            self.assertEqual(status, 0)
            self.assertIn(f"  pypid cache {verb} requests", out)

    def test_no(self) -> None:
        """What pypid refuses, or cannot do, is its text and status 1."""
        for error in ControlRefused("not today"), NoSuchProject("spam"):
            self.answer = error
            self.assertEqual(
                self.run_command("project", "yank", "spam", "1.0")[0], f"pypid: {error}"
            )

    def test_interrupted(self) -> None:
        """Ctrl-C is 130, as shells have it."""
        self.answer = KeyboardInterrupt()
        self.assertEqual(self.run_command("storage", "rebuild")[::2], (130, "pypid: stopped\n"))


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
