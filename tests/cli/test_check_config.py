"""What `pypid check-config` says: each common mistake by its exact message, and the output for a
valid configuration.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cli.commands import RecordedCase
from tests.core.configuration.test_parse import HASH
from tests.live.certificates import Authority

ENDPOINTS = (
    "(allowed: host:port, :port, port, or a Twisted endpoint string, like "
    "tcp:6543:interface=127.0.0.1; several are separated by whitespace)"
)
NOBODY = 65534
USERS = f"[users]\nalice = {HASH}\nbob = {HASH}\n"
NO_PORT = "is no port; write a number from 1 to 65535, like 8080"

MISTAKES: list[tuple[str, tuple[str, ...]]] = [
    (
        "[server]\nlisten_on = tcp:8080\n",
        (":2: [server] listen_on: unknown key; did you mean 'listen'?",),
    ),
    ("[servr]\nlisten = tcp:8080\n", (":1: [servr]: unknown section; did you mean [server]?",)),
    (
        "[server]\nlisten = pypi.example.org:8080\n",
        (
            f":2: [server] listen: invalid value 'pypi.example.org:8080' {ENDPOINTS}: "
            "'pypi.example.org' is no IP address; write one of this machine, like 0.0.0.0:8080 "
            "(all addresses) or 127.0.0.1:8080",
        ),
    ),
    (
        "[server]\nlisten = 80800\n",
        (f":2: [server] listen: invalid value '80800' {ENDPOINTS}: '80800' {NO_PORT}",),
    ),
    (
        "[server]\nlisten = tcp:80x80\n",
        (f":2: [server] listen: invalid value 'tcp:80x80' {ENDPOINTS}: '80x80' {NO_PORT}",),
    ),
    (
        "[users]\nalice = secret\n",
        (
            ":2: [users] alice: this is not a password hash ($kind$..., not {SHA} or the old "
            "crypt). Run `pypid gen-password alice` and paste its line",
        ),
    ),
    (
        "[advisories]\nsource = ftp://osv.example.org/all.zip\nblock = malwar\n",
        (
            ":2: [advisories] source: invalid value 'ftp://osv.example.org/all.zip' (allowed: osv, a "
            "path, or an http or https URL)",
            ":3: [advisories] block: invalid value 'malwar' (allowed: malware, critical, high, "
            "medium, low, nothing; several are separated by whitespace): 'malwar' is none; did "
            "you mean 'malware'?",
        ),
    ),
    (
        "[storage]\nbackend = s3\n",
        (":2: [storage] bucket: backend = s3 needs the name of a bucket",),
    ),
    (
        "[storage]\nbackend = S3 bucket\n",
        (":2: [storage] backend: invalid value 'S3 bucket' (allowed: files, s3, memory)",),
    ),
    (
        "[server]\ntls_certificate = c.pem\n",
        (":2: [server] tls_key: tls_certificate and tls_key belong together; set both or none",),
    ),
    (
        "[server]\ntls_certificate = /nonexistent/c.pem\ntls_key = /nonexistent/k.pem\n",
        (
            ":2: [server] tls_certificate: there is no file /nonexistent/c.pem, or its folder "
            "cannot be entered; correct the path",
            ":3: [server] tls_key: there is no file /nonexistent/k.pem, or its folder cannot be "
            "entered; correct the path",
        ),
    ),
    (
        "[server]\nmax_upload = 100MB\n",
        (
            ":2: [server] max_upload: invalid value '100MB' (allowed: a whole number of bytes "
            "from 1, or of k, M, G or T, like 100M (1k = 1024))",
        ),
    ),
    (
        "[upstream]\nttl = 10 minutes\n",
        (
            ":2: [upstream] ttl: invalid value '10 minutes' (allowed: a whole number of seconds, "
            "or of s, m, h or d (one unit, like 90s or 10m))",
        ),
    ),
    (
        "[projects]\nacme.data = write\n",
        (
            ":2: [projects] acme.data: invalid value 'write' (allowed: r, rw); invalid key "
            "(allowed: <project>.user.<name>, <project>.group.<name>, <project>.everyone, "
            "<project>.authenticated)",
        ),
    ),
    (
        "[server]\nlisten = tcp:8080\nlisten = tcp:8081\n",
        (":3: [server] listen: the key is already in line 2; remove one of the two",),
    ),
    (
        "[storage]\nbackend = files   # local\n",
        (":2: [storage] backend: invalid value 'files   # local' (allowed: files, s3, memory)",),
    ),
    (
        "[upstream]\nmode = proxy\n",
        (":2: [upstream] mode: invalid value 'proxy' (allowed: cache, redirect, mirror, offline)",),
    ),
    (
        "[catalog]\nbackend = memory\n[access]\nurl = sqlite:////hunter2.db\n",
        (
            ":1: [catalog]: [database] has url = postgresql://... of several machines, and "
            "stale_for; without url the catalog is in the state folder, also for several workers; "
            "remove the section",
            ":4: [access] url: write it as [database] url, which the catalog uses too; the file of "
            "a SQLite URL becomes accounts.db in the state folder; remove the key",
        ),
    ),
    (
        "[storage]\npath = /dev/null/packages\n",
        (":2: [storage] path: /dev/null is no folder; name another one",),
    ),
    (
        "[server]\nlisten = tcp:99999\n",
        (f":2: [server] listen: invalid value 'tcp:99999' {ENDPOINTS}: '99999' {NO_PORT}",),
    ),
    (
        "[server]\nlisten = udp:1\n[storage]\nbackend = tape\n[log]\nlevel = inf\n",
        (
            f":2: [server] listen: invalid value 'udp:1' {ENDPOINTS}: 'udp' is no IP address; "
            "write one of this machine, like 0.0.0.0:8080 (all addresses) or 127.0.0.1:8080",
            ":4: [storage] backend: invalid value 'tape' (allowed: files, s3, memory)",
            ":6: [log] level: invalid value 'inf' (allowed: debug, info, warn, error, critical); "
            "did you mean 'info'?",
        ),
    ),
    (
        "server:\n  listen: 8080\n",
        (":1: there is no [section] above this line; begin with one, like [server]",),
    ),
    (
        "[access]\nbackend = ldap\n",
        (
            ":2: [ldap] url: [access] backend lists ldap, which needs the URL of the directory, "
            "like ldaps://ldap.example.org",
            ":2: [ldap] base_dn: [access] backend lists ldap, which needs to know below which "
            "entry users are, like dc=example,dc=org",
        ),
    ),
    (
        f"[access]\nwrite = alice, bob\n{USERS}",
        (
            ":2: [access] write: invalid value 'alice, bob' (allowed: everyone, authenticated, "
            "admins, nobody, names of users, user:<name> and group:<name>): write spaces between "
            "names, no commas",
        ),
    ),
]
"""The mistakes that stop a start: the text of the file, and the problems without the file's name.
The other three are warnings, and a variable of the environment.
"""

WARNINGS = [
    (
        "[issuer:github]\nurl = https://token.actions.githubusercontent.com\n"
        f"allow = acme-* repository=acme/app as_user=alcie\n{USERS}",
        ":3: [issuer:github] allow: there is no user 'alcie'; did you mean 'alice'?",
    ),
    (
        f"[access]\nread = group:devs\n[groups]\ndev = alice\n{USERS}",
        ":2: [access] read: there is no group 'devs'; did you mean 'dev'?",
    ),
    (
        f"[index:team]\nwrite = group:devs\n[groups]\ndev = alice\n{USERS}",
        ":2: [index:team] write: there is no group 'devs'; did you mean 'dev'?",
    ),
    (
        f"[access]\nadmins = alcie\n{USERS}",
        ":2: [access] admins: there is no user 'alcie'; did you mean 'alice'?",
    ),
    (
        f"[access]\nbackend = config\nread = zoe\n{USERS}",
        ":3: [access] read: there is no user 'zoe'; add it to [users], or list sql in [access] "
        "backend and create it there",
    ),
    (
        "[access]\nbackend = config sql\nread = zoe\n",
        ":3: [access] read: there is no user 'zoe'; create it: pypid user create zoe --inherit",
    ),
    (
        f"[groups]\ndev = alice bbo\n{USERS}",
        ":2: [groups] dev: there is no user 'bbo'; did you mean 'bob'?",
    ),
    (
        f"[projects]\nacme.user.bbo = r\nacme.group.dev = rw\n{USERS}",
        ":2: [projects] acme.user.bbo: there is no user 'bbo'; did you mean 'bob'?",
    ),
    (
        "[upstream]\ncooldown = 3d\ncooldown_fixes = 6h\n",
        ":3: [upstream] cooldown_fixes: it has no effect without [advisories] source: nothing says "
        "what a version fixes",
    ),
    (
        "[storage]\npath = files   # local\n",
        ":2: [storage] path: the value is 'files   # local'. After a value, only ; starts a "
        "comment.",
    ),
    (
        '[storage]\npath = "files"\n',
        ":2: [storage] path: the quotation marks are part of the value; write it without them",
    ),
]


class CheckConfigTests(RecordedCase):
    def setUp(self) -> None:
        super().setUp()
        folder = TemporaryDirectory()  # short: a control socket has to fit into it
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / "pypid.ini"

    def check(self, text: str, *options: str) -> tuple[int | str | None, str, str]:
        """Run the command on a file with this text."""
        self.file.write_text(text)
        return self.run_command("check-config", *options, str(self.file))

    def test_common_mistakes_are_reported_with_what_to_write(self) -> None:
        """Each mistake has its exact message, and all problems come at once."""
        for text, problems in MISTAKES:
            with self.subTest(text):
                status, out, _ = self.check(text)
                number = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
                lines = [f"  {self.file}{problem}" for problem in problems]
                self.assertEqual(
                    status, "\n".join([f"pypid: {number} in the configuration:", *lines])
                )
                self.assertEqual(out, "")

    def test_unknown_names_and_comments_are_warnings(self) -> None:
        """A start works with them; they are printed on standard error, and counted."""
        for text, warning in WARNINGS:
            with self.subTest(text):
                status, out, error = self.check(f"{text}[server]\nlisten = 0\n")
                self.assertEqual(status, 0)
                self.assertIn(f"warning: {self.file}{warning}\n", error)
                self.assertIn("\nConfiguration is valid, with ", out)

    def test_open_by_mistake(self) -> None:
        """What the network can reach without TLS, or without a login, is a warning."""
        _, _, error = self.check("[server]\nlisten = 0\n[access]\nread = everyone\n")
        self.assertIn(":2: [server] listen: tcp:0 takes passwords from the network", error)
        self.assertIn(":4: [access] read: all clients that reach this server can install", error)
        for text in (
            "[server]\nlisten = localhost:0 [::1]:0\n",
            "[server]\nlisten = 0\ntrusted_proxies = 10.0.0.1\n[access]\nread = authenticated\n",
        ):
            self.assertEqual(self.check(text)[2], "", text)

    def test_port_in_use_is_a_warning(self) -> None:
        """The other program may end before pypid starts; an address of another machine cannot
        work.
        """
        with closing(socket.socket()) as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            status, _, error = self.check(f"[server]\nlisten = 127.0.0.1:{port}\n")
        self.assertEqual(status, 0)
        self.assertIn("[server] listen: pypid cannot listen on", error)
        status, _, _ = self.check("[server]\nlisten = 192.0.2.1:0\n")
        self.assertIn("This machine does not have that address", str(status))

    def test_tls_files(self) -> None:
        """The key has to belong to the certificate; its mode and the certificate's end are
        warnings.
        """
        folder = self.file.parent
        chain, key, other = folder / "c.pem", folder / "k.pem", folder / "other.pem"
        Authority().issue(folder / "unused.pem", other)
        Authority().issue(chain, key)
        key.chmod(0o644)
        text = "[server]\nlisten = 0\ntls_certificate = c.pem\ntls_key = "
        status, _, error = self.check(f"{text}k.pem\n")
        self.assertEqual(status, 0)
        self.assertIn(f"every user of this machine can read {key}; run: chmod o= {key}", error)
        self.assertRegex(error, r":3: \[server\] tls_certificate: the certificate expires on ")
        status, _, _ = self.check(f"{text}other.pem\n")
        self.assertIn(
            f":4: [server] tls_key: {other} is not the key of the certificate {chain}.", str(status)
        )
        chain.write_text("no certificate")
        status, _, _ = self.check(f"{text}k.pem\n")
        self.assertIn(f":3: [server] tls_certificate: {chain} is not usable", str(status))

    def test_output_of_a_valid_configuration(self) -> None:
        """It ends with the verdict; --quiet prints nothing, --json all of it."""
        text = "[server]\nlisten = 127.0.0.1:0\n"
        status, out, _ = self.check(text)
        self.assertEqual(status, 0)
        self.assertTrue(out.endswith(f"\nConfiguration is valid: {self.file}\n"), out)
        self.assertEqual(self.check(text, "--quiet"), (0, "", ""))
        status, out, _ = self.check(text, "--json")
        document = json.loads(out)
        self.assertEqual((status, document["valid"], document["problems"]), (0, True, []))
        self.assertEqual(
            document["settings"]["server"]["listen"],
            {"value": "tcp:0:interface=127.0.0.1", "origin": f"{self.file}:2"},
        )
        status, out, _ = self.check("[server]\nlisten = tcp:99999\n", "--json")
        [problem] = json.loads(out)["problems"]
        self.assertEqual(status, 1)
        self.assertEqual(
            (problem["where"], problem["line"], problem["section"], problem["key"]),
            (str(self.file), 2, "server", "listen"),
        )
        self.assertIn(NO_PORT, problem["message"])

    def test_rights_of_the_user_who_runs_pypid(self) -> None:
        """A folder or a key that this user may not use is a problem. For root this user is the
        owner of the state folder.
        """
        folder = self.file.parent
        state, storage = folder / "state", folder / "files"
        state.mkdir()
        storage.mkdir(mode=0o500)
        Authority().issue(folder / "c.pem", folder / "k.pem")
        (folder / "k.pem").chmod(0)
        if os.geteuid() == 0:
            folder.chmod(0o755)
            os.chown(state, NOBODY, NOBODY)
        status, _, _ = self.check(
            "[server]\nlisten = 0\nstate = state\ntls_certificate = c.pem\ntls_key = k.pem\n"
            "[storage]\npath = files\n"
        )
        self.assertIn(" cannot use the folder ", str(status))
        self.assertIn(":7: [storage] path: the user ", str(status))
        self.assertRegex(str(status), r":5: \[server\] tls_key: the user \S+ cannot read ")
