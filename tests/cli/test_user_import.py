"""user import: people and rights out of a pypicloud's dump."""

import gzip
import json
from pathlib import Path

from pypid.core.accounts.rights import Right, Whom
from pypid.core.packaging.names import project_name
from tests.cli.commands import CommandCase
from tests.web.app_with_accounts import have
from tests.web.full_app import basic

PASSWORD = "h\u00e9llo w\u00f6rld"
HASHES = {
    "sha512": "$6$rounds=1000$0hVhgV0KD9g88.VH$gc73SIBfSPgGvPt.FqQ0rav4clxsuqJjnsVs.xQhL.qTR9wbwcUwDt.KHFAyQI8NxNQ.gs9fyJGuTuxB"
    ".1pA//",
    "sha256": "$5$rounds=1000$jeaeBt4Gam70uBeI$6ncWlEsG3lMQKrAVfOLP2d5E5.N6ylRyOPEnDb/Utp1",
    "pbkdf2-sha512": "$pbkdf2-sha512$1000$LuWck7KW8r6X0prTurc2Zg$ywGztrHw/acls7DDyn8NZtqIhSV7l6kSI1l34NQ8TX9IE62N5l5dzMJVqeLo0s"
    "LZMEbhK.wo6sd1YwLjsmO8ag",
    "pbkdf2-sha256": "$pbkdf2-sha256$1000$.D.nNIYwxjhnbM2Zc.6dkw$7rY2rkUZ7MQAo5YiCw/XYDnFJSSZ.Ils9TP8GhL5qbY",
    "bcrypt": "$2b$04$Fib/rWIqENA8N4kFIcCKJufTyQHSmnSz07bn3tg2Ago3XjzOrdojy",
    "argon2": "$argon2id$v=19$m=65536,t=1,p=4$DAEAwBgDoDQmJMR4T2ktBQ$ZbxU8xwJfA5V1s7xSp84ElClJ9bswnFkPV69xqDmWgE",
}
"""Of that password, by the context of pypicloud 1.3.12 (passlib 1.7.4), by scheme."""


class ImportTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def dumped(self, **said: object) -> str:
        """A file as ppc-export writes it."""
        document = {
            "complete": True,
            "allow_register": False,
            "users": [],
            "groups": {},
            "pending_users": [],
        }
        path = self.folder / "acl.json.gz"
        path.write_bytes(
            gzip.compress(
                json.dumps({**document, "packages": {"users": {}, "groups": {}}, **said}).encode()
            )
        )
        return str(path)

    def test_every_hash(self) -> None:
        """Whoever had a password there has it here, whatever kind of hash pypicloud had made of it;
        a wrong one is wrong.
        """
        file = self.dumped(
            users=[
                {"username": name, "password": hash, "admin": False}
                for name, hash in HASHES.items()
            ]
        )
        out = self.prints(f"user import -i {file}")
        self.assertEqual(out, "added: 6 users, 0 groups, 0 members, 0 rights\n")
        for name in HASHES:
            self.assertEqual(
                self.pypid.get("/api/me", None, basic(name, PASSWORD)).status, 200, name
            )
            self.assertEqual(
                self.pypid.get("/api/me", None, basic(name, f"{PASSWORD}!")).status, 401, name
            )

    def test_import(self) -> None:
        """What was added is counted; a second time there is nothing to add, and it
        goes well, too.
        """
        file = self.dumped(
            users=[{"username": "carol", "password": HASHES["sha256"], "admin": True}],
            groups={"devs": ["carol", "alice"]},
            packages={
                "users": {},
                "groups": {"spam": {"devs": ["read", "write"], "everyone": ["read"]}},
            },
        )
        self.assertEqual(
            self.prints(f"user import -i {file}"), "added: 1 user, 1 group, 2 members, 2 rights\n"
        )
        again = "added: 0 users, 0 groups, 0 members, 0 rights (1 user existed already)\n"
        self.assertEqual(self.prints(f"user import -i {file}"), again)
        self.assertIn(
            Right(project_name("spam"), Whom.EVERYONE), have(self.people.accounts.rights())
        )
        self.assertEqual(self.people.done(), [("operator/root", "user import", "pypicloud")])

    def test_loss(self) -> None:
        """Where somebody loses a right the command ends with 1 and says whose; what could be taken
        over was.
        """
        file = self.dumped(
            users=[{"username": "carol", "password": HASHES["sha256"]}],
            packages={"users": {"spam": {"carol": ["write"]}}, "groups": {}},
        )
        status, out, err = self.run_command(f"user import -i {file}")
        self.assertEqual(status, 1)
        self.assertIn("LOST: user carol may write spam and not read it: neither is taken over", out)
        self.assertIn("added: 1 user, 1 group, 0 members, 1 right\n", out)
        self.assertIn("1 change took a right", err)
        status, out, _ = self.run_command(f"user import --json -i {file}")
        self.assertEqual((status, json.loads(out)["users_there"]), (1, 1))
