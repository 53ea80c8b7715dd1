"""Where files lie, what is upstream, who is asked, where to listen: each key's translation."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.parse import Config
from pypid.core.errors import BadConfig
from pypid.core.permissions import Principals
from pypid.core.pypicloud.translation import translate, written
from tests.support.configuration import parse

HASH = "$5$rounds=1000$saltsalt$aGFzaGhhc2g"
S3 = "pypi.storage = s3\nstorage.bucket = bucket\n"


def read(app: str, rest: str = "", **environ: str) -> Config:
    """The configuration of an app with these lines, and these sections behind it."""
    return parse(
        f"[app:main]\nuse = egg:pypicloud\n{app}\n{rest}",
        filename="/srv/config.ini",
        environ=environ,
        cwd="/run",
    )


def refused(app: str, rest: str = "") -> str:
    """What it is refused for; empty if it is not."""
    try:
        read(app, rest)
    except BadConfig as error:
        return str(error)
    return ""


def notes(config: Config) -> str:
    """All of them."""
    return "\n".join(config.notes)


class Storage(SynchronousTestCase):
    """[storage]."""

    def test_files(self) -> None:
        """The folder is used where it is, its files are adopted, by all names of its class; without
        one nothing starts.
        """
        for name in (
            "file",
            "pypicloud.storage.FileStorage",
            "pypicloud.storage.files.FileStorage",
        ):
            storage = read(f"pypi.storage = {name}\nstorage.dir = /files").storage
            found = (storage.backend.value, storage.path, storage.adopt)
            self.assertEqual(found, ("files", "/files", True))
        self.assertIn("storage.dir: it has to say in which folder", refused("pypi.fallback = none"))
        self.assertIn("storage.dir: it has to say in which folder", refused("storage.dir ="))

    def test_bucket(self) -> None:
        """A bucket has pypicloud's defaults, and what the file says; names of three generations say
        the same.
        """
        storage = read(S3).storage
        found = (
            storage.backend.value,
            storage.bucket,
            storage.adopt,
            storage.redirect,
        )
        self.assertEqual(found, ("s3", "bucket", True, True))
        self.assertEqual((storage.region, storage.expire_after), ("us-east-1", timedelta(days=1)))
        for lines in (
            "pypi.storage = s3\nstorage.bucket = bucket\nstorage.aws_access_key_id = "
            "A\nstorage.aws_secret_access_key = S\n"
            "storage.region_name = eu-west-1\nstorage.prefix = p/\nstorage.expire_after = "
            "60\nstorage.prepend_hash = no",
            "pypi.storage = s3\nstorage.bucket = bucket\nstorage.access_key = "
            "A\nstorage.secret_key = S\n"
            "storage.region = EU\nstorage.prefix = p/\nstorage.expire_after = "
            "60\nstorage.prepend_hash = no",
            "aws.bucket = bucket\naws.access_key = A\naws.secret_key = S\naws.region = "
            "EU\naws.prefix = p/\n"
            "aws.expire_after = 60\npypi.prepend_hash = false\nsqlalchemy.url = sqlite:///x",
        ):
            storage = read(lines).storage
            self.assertEqual(
                (storage.bucket, storage.access_key, storage.secret_key), ("bucket", "A", "S")
            )
            self.assertEqual((storage.region, storage.prefix), ("eu-west-1", "p/"))
            self.assertEqual(storage.expire_after, timedelta(seconds=60))
            self.assertLess(storage.buffer_time, storage.expire_after)

    def test_other_stores(self) -> None:
        """Other implementations of S3: by their URL, or by host and security as before 1.0;
        Amazon's host says the region.
        """
        storage = read(
            S3
            + (
                "storage.endpoint_url = http://minio:9000/\nstorage.addressing_style = "
                "path\nstorage.verify = ca.pem"
            )
        ).storage
        found = (storage.endpoint_url, storage.addressing.value, storage.ca_certificates)
        self.assertEqual(found, ("http://minio:9000", "path", "/run/ca.pem"))
        storage = read(
            S3
            + (
                "storage.host = minio:9000\nstorage.is_secure = false\nstorage.calling_format = "
                "OrdinaryCallingFormat"
            )
        ).storage
        self.assertEqual(
            (storage.endpoint_url, storage.addressing.value), ("http://minio:9000", "path")
        )
        storage = read(S3 + "storage.host = s3-eu-west-1.amazonaws.com").storage
        self.assertEqual((storage.endpoint_url, storage.region), (None, "eu-west-1"))
        self.assertEqual(read(S3, AWS_DEFAULT_REGION="eu-north-1").storage.region, "eu-north-1")

    def test_certificates_are_always_checked(self) -> None:
        """Not to check them is not taken over."""
        config = read(S3 + "storage.verify = false")
        self.assertIsNone(config.storage.ca_certificates)
        self.assertIn(
            "storage.verify: not taken over: certificates are always checked", notes(config)
        )

    def test_cloudfront(self) -> None:
        """CloudFront with a key; without one clients get URLs of S3's; a key in the file is
        refused, and not shown.
        """
        front = (
            S3.replace("s3", "cloudfront")
            + "storage.cloud_front_domain = https://d.cloudfront.net\n"
        )
        storage = read(
            front + "storage.cloud_front_key_id = K\nstorage.cloud_front_key_file = k.pem"
        ).storage
        found = (storage.cloudfront_domain, storage.cloudfront_key_id, storage.cloudfront_key_file)
        self.assertEqual(found, ("https://d.cloudfront.net", "K", "/run/k.pem"))
        config = read(front)
        self.assertIsNone(config.storage.cloudfront_domain)
        self.assertIn("clients get signed URLs of S3's", notes(config))
        said = refused(front + "storage.cloud_front_key_string = hunter2")
        self.assertIn("write it into a file", said)
        self.assertNotIn("hunter2", said)
        self.assertIn(
            "storage.cloud_front_key_id: it belongs",
            refused(front + "storage.cloud_front_key_file = k.pem"),
        )
        self.assertIn("needs the domain", refused(S3.replace("s3", "cloudfront")))

    def test_what_is_not_had(self) -> None:
        """Other storages are refused with what to do instead."""
        for name, word in (
            ("gcs", "Google"),
            ("pypicloud.storage.GoogleCloudStorage", "Google"),
            ("azure-blob", "Azure"),
            ("company.storage.Tape", "cannot run 'company.storage.Tape'"),
        ):
            said = refused(f"pypi.storage = {name}\nstorage.bucket = b")
            self.assertIn(word, said)
            self.assertIn("ppc-migrate", said)


class Upstream(SynchronousTestCase):
    """[upstream]."""

    def upstream(self, lines: str) -> Config:
        return read(f"storage.dir = /f\n{lines}")

    def test_never_blended(self) -> None:
        """That names of ours show the public index's versions, too, is never taken over, and said
        why.
        """
        for lines in ("pypi.always_show_upstream = true", "pypi.fallback = mirror"):
            config = self.upstream(lines)
            self.assertEqual(config.upstream.allow_mixed, ())
            self.assertIn("[upstream] allow_mixed", notes(config))
        self.assertNotIn("allow_mixed", notes(self.upstream("pypi.always_show_upstream = false")))

    def test_reserved(self) -> None:
        """Names that were never to be asked for are reserved, also where pypicloud did not
        understand how they are listed.
        """
        config = self.upstream("pypi.disallow_fallback =\n   one\n   My_Two")
        self.assertEqual(config.upstream.reserved, ("one", "My_Two"))
        for text in ("(one, two)", '["one", "two"]', "one,two"):
            config = self.upstream(f"pypi.disallow_fallback = {text}")
            self.assertEqual(config.upstream.reserved, ("one", "two"))
            self.assertIn("pypicloud did not understand this", notes(config))
        config = self.upstream("pypi.disallow_fallback = one * -x-")
        self.assertEqual(config.upstream.reserved, ("one",))
        self.assertIn("no project can be called '*', '-x-'", notes(config))


class People(SynchronousTestCase):
    """[users], and who is asked."""

    def test_config(self) -> None:
        """By all names of its class: users with good hashes, of whom those administer that the file
        says.
        """
        for name in (
            "config",
            "pypicloud.access.ConfigAccessBackend",
            "pypicloud.access.config.ConfigAccessBackend",
        ):
            config = read(
                f"storage.dir = /f\npypi.auth = {name}\nuser.alice = {HASH}\nuser.bob = "
                f"plain\nuser.a:b = {HASH}\n"
                f"user.everyone = {HASH}\nauth.admins = alice bob gone\ngroup.team = alice "
                f"bob\ngroup.everyone = bob"
            )
            self.assertEqual(dict(config.users), {"alice": HASH})
            self.assertEqual(
                (config.access.admins, dict(config.groups)),
                (("alice",), {"team": ("alice", "bob")}),
            )
            said = notes(config)
            for words in (
                "user.bob, user.a: this is not a password hash",
                "user.everyone: not a valid name of a user",
                "no user of these names exists: bob gone",
                "group.everyone",
            ):
                self.assertIn(words, said)

    def test_database(self) -> None:
        """pypicloud's database is named to be read once; ours is ours."""
        for name in (
            "sql",
            "pypicloud.access.SQLAccessBackend",
            "pypicloud.access.sql.SQLAccessBackend",
        ):
            config = read(
                f"storage.dir = /f\npypi.auth = {name}\nauth.db.url = "
                f"sqlite:///%(here)s/db.sqlite\nuser.a = {HASH}"
            )
            self.assertEqual([each.value for each in config.access.backend], ["config", "sql"])
            self.assertEqual(
                (config.database.url, config.inherits), (None, "sqlite:////srv/db.sqlite")
            )
            self.assertIn(
                "user.a: pypicloud does not look at it with pypi.auth = sql", notes(config)
            )
        self.assertEqual(
            read("storage.dir = /f\npypi.access_backend = sql\nauth.db.url = sqlite://").inherits,
            "sqlite://",
        )
        self.assertIn(
            "auth.db.url: pypi.auth = sql needs", refused("storage.dir = /f\npypi.auth = sql")
        )

    def test_server_of_the_cache(self) -> None:
        """A PostgreSQL of pypicloud's cache is our database, too; what else it names is not used."""
        for line in (
            "db.url = postgresql+psycopg2://u:hunter2@h/db",
            "pypi.db = sql\nsqlalchemy.url = postgres://u:hunter2@h/db",
        ):
            config = read(f"storage.dir = /f\n{line}\n")
            self.assertEqual(config.database.url, "postgresql://u:hunter2@h/db")
            self.assertIn(".url: pypid has its catalog, accounts and audit log", notes(config))
            self.assertNotIn("hunter2", notes(config))
        for url in ("sqlite:////srv/db", "mysql://h/db", "redis://h", "postgresql"):
            config = read(f"storage.dir = /f\ndb.url = {url}\n")
            self.assertIsNone(config.database.url)
            self.assertIn("db.url: not taken over", notes(config))

    def test_what_is_not_had(self) -> None:
        """Other sources are refused, with the reason and with what to do."""
        for name, word in (
            ("remote\nauth.backend_server = https://x", "users of a service"),
            ("aws_secrets_manager", "AWS Secrets Manager"),
            (
                "pypicloud.access.aws_secrets_manager.AWSSecretsManagerAccessBackend",
                "AWS Secrets Manager",
            ),
            ("company.Auth", "cannot run 'company.Auth'"),
        ):
            said = refused(f"storage.dir = /f\npypi.auth = {name}")
            self.assertIn(word, said)
            self.assertIn("ppc-export", said)

    def test_directory(self) -> None:
        """A directory that is searched is searched; its groups mean nothing, as with pypicloud."""
        base = "storage.dir = /f\npypi.auth = ldap\nauth.ldap.url = ldaps://h\n"
        search = (
            f"{base}auth.ldap.base_dn = ou=people,dc=x\nauth.ldap.user_search_filter = "
            f"(&(a=b)(uid={{username}}))\n"
        )
        config = read(
            f"{search}auth.ldap.service_dn = cn=s\nauth.ldap.service_password = "
            f"hunter2\nauth.ldap.service_username = root"
        )
        ldap = config.ldap
        self.assertEqual([each.value for each in config.access.backend], ["ldap"])
        self.assertEqual(
            (ldap.url, ldap.bind_dn, ldap.base_dn), ("ldaps://h", "cn=s", "ou=people,dc=x")
        )
        self.assertEqual(ldap.user_filter, "(&(a=b)(uid={user}))")
        self.assertIn("auth.ldap.service_username: not taken over", notes(config))
        self.assertEqual(config.access.admins, ())
        self.assertNotIn("StartTLS", notes(config))
        self.assertIn("StartTLS", notes(read(search.replace("ldaps:", "ldap:"))))
        older = read(
            f"{base}auth.ldap.base_dn = dc=x\nauth.ldap.all_user_search = "
            f"(a=b)\nauth.ldap.id_field = name"
        ).ldap
        self.assertEqual(older.user_filter, "(&(a=b)(name={user}))")
        self.assertIn(
            "it names one entry", refused(f"{base}auth.ldap.user_dn_format = cn={{username}},dc=x")
        )
        self.assertIn(
            "from auth.ldap.user_search_filter",
            refused(search.replace("(uid={username})", "(uid=x)")),
        )

    def test_administrators_of_a_directory(self) -> None:
        """Names, and a group by memberOf, are taken over; other attributes make nobody an
        administrator, and that is said.
        """
        base = (
            "storage.dir = /f\npypi.auth = ldap\nauth.ldap.url = ldaps://h\nauth.ldap.base_dn = "
            "dc=x\n"
        )
        base += "auth.ldap.user_search_filter = (uid={username})\n"
        config = read(
            f"{base}auth.ldap.admin_field = uid\nauth.ldap.admin_value =\n   alice\n   bob"
        )
        self.assertEqual(config.access.admins, ("alice", "bob"))
        group = f"{base}auth.ldap.admin_field = memberOf\nauth.ldap.admin_value = cn=ops,dc=x\n"
        self.assertEqual(read(group).ldap.admin_group, "cn=ops,dc=x")
        config = read(f"{group}auth.ldap.fallback = config")
        self.assertIsNone(config.ldap.admin_group)
        self.assertIn("an attribute makes no user an administrator", notes(config))
        config = read(f"{base}auth.ldap.admin_field = roles\nauth.ldap.admin_value = boss")
        self.assertEqual((config.access.admins, config.ldap.admin_group), ((), None))
        self.assertIn(
            "auth.ldap.admin_field, auth.ldap.admin_value: an attribute makes no user",
            notes(config),
        )


class Listening(SynchronousTestCase):
    """[server] listen."""

    def listen(self, section: str) -> tuple[str, ...]:
        config = read("storage.dir = /f", section)
        self.notes = notes(config)
        for text in config.server.listen:
            serverFromString(MemoryReactor(), text)  # type: ignore[no-untyped-call]
        return config.server.listen

    def test_waitress(self) -> None:
        """Hosts and ports of [server:main], several, of both families, and a socket in the file
        system.
        """
        for section, expected in (
            ("host = 0.0.0.0\nport = 6543", ("tcp:6543",)),
            ("host = 127.0.0.1\nport = 6543", ("tcp:6543:interface=127.0.0.1",)),
            ("host = localhost\nport = 80", ("tcp:80:interface=127.0.0.1",)),
            ("host = ::\nport = 6543", ("tcp6:6543",)),
            ("host = ::1\nport = 6543", (r"tcp6:6543:interface=\:\:1",)),
            ("port = 6543", ("tcp:6543",)),
            ("threads = 8", ("tcp:8080",)),
            (
                "listen = *:80 [::]:80 10.0.0.1:81",
                ("tcp:80", "tcp6:80", "tcp:81:interface=10.0.0.1"),
            ),
            ("unix_socket = /run/a:b.sock", (r"unix:/run/a\:b.sock:mode=600",)),
            ("unix_socket = p.sock\nunix_socket_perms = 660", ("unix:/run/p.sock:mode=660",)),
        ):
            self.assertEqual(
                self.listen(f"[server:main]\nuse = egg:waitress#main\n{section}"), expected, section
            )

    def test_proxies(self) -> None:
        """An address whose headers were believed is believed; everybody's are not, unless only this
        machine can connect.
        """
        config = read(
            "storage.dir = /f",
            "[server:main]\nport = 1\ntrusted_proxy = 10.0.0.7\nmax_request_body_size = 1000",
        )
        self.assertEqual([str(each) for each in config.server.trusted_proxies], ["10.0.0.7/32"])
        self.assertEqual(config.server.max_upload, 1000)
        config = read(
            "storage.dir = /f", "[server:main]\nport = 1\ntrusted_proxy = *\nurl_scheme = https"
        )
        self.assertEqual(config.server.trusted_proxies, ())
        self.assertIn("trusted_proxy: not everybody who can connect is believed", notes(config))
        config = read(
            "storage.dir = /f", "[server:main]\nhost = 127.0.0.1\nport = 1\ntrusted_proxy = *"
        )
        self.assertEqual(
            [str(each) for each in config.server.trusted_proxies], ["127.0.0.0/8", "::1/128"]
        )


class FirstGeneration(SynchronousTestCase):
    """The keys of pypicloud 0.1, which had no keys for rights."""

    def translated(self, more: str = "") -> Config:
        text = Path(__file__).with_name("pypicloud-0.1.ini").read_text()
        for placeholder, value in (
            ("<<AWS access key>>", "AKIAEXAMPLE"),
            ("<<AWS secret key>>", "example-secret"),
            ("<<AWS bucket>>", "packages"),
            ("<<salted password hash>>", HASH),
        ):
            self.assertIn(placeholder, text)
            text = text.replace(placeholder, value)
        text = text.replace("pypi.use_fallback = True\n", f"pypi.use_fallback = True\n{more}")
        return parse(text, filename="/srv/server.ini", environ={}, cwd="/run")

    def test_readme_of_0_1_lets_everyone_read_and_every_user_publish(self) -> None:
        """The configuration of 0.1's README is taken literally, comments
        behind numbers included.
        """
        config = self.translated()
        access = config.access
        self.assertEqual(
            (access.read.everyone, access.write), (True, Principals(authenticated=True))
        )
        self.assertEqual(config.upstream.mode.value, "redirect")
        self.assertEqual(config.upstream.url, ("http://127.0.0.1:1/simple",))
        self.assertEqual(config.storage.expire_after, timedelta(days=1))
        self.assertEqual(config.storage.buffer_time, timedelta(minutes=5))
        self.assertIn("the keys are those of pypicloud 0.1", notes(config))

    def test_one_later_key_brings_the_later_defaults(self) -> None:
        """Later versions allow less by default; nobody gets more than their pypicloud gave."""
        for line in (
            "auth.admins = alice",
            "auth.zero_security_mode = true",
            "pypi.db = sql",
            "db.url = sqlite://",
            "group.a = alice",
            "package.spam.user.alice = rw",
            "pypi.allow_overwrite = false",
        ):
            access = self.translated(f"{line}\n").access
            self.assertEqual(
                (access.read, access.write), (Principals(authenticated=True), Principals()), line
            )
        self.assertTrue(self.translated("debugtoolbar.hosts = x\n").access.write.authenticated)


class Writing(SynchronousTestCase):
    """`pypid convert-config`."""

    def text(self, app: str, rest: str = "") -> str:
        whole = f"[app:main]\nuse = egg:pypicloud\n{app}\n{rest}"
        return written(
            translate(whole, filename="/srv/config.ini", environ={}, cwd="/run"), "/srv/config.ini"
        )

    def test_says_the_same(self) -> None:
        """What is printed is an ini of ours that says the same, with the line that each value comes
        from.
        """
        app = (
            f"{S3}storage.aws_access_key_id = A\nstorage.aws_secret_access_key = S;%%\nuser.alice "
            f"= {HASH}\n"
            "package.spam.user.alice = rw\npackage.eggs.user.alice =\ngroup.admins = "
            "alice\nauth.admins = alice\n"
            "pypi.realm = x\n"
        )
        rest = "[server:main]\nhost = 0.0.0.0\nport = 6543"
        text = self.text(app, rest)
        theirs, ours = read(app, rest), parse(text, filename="/srv/pypid.ini")
        for name in (
            "server",
            "storage",
            "database",
            "upstream",
            "access",
            "users",
            "groups",
            "projects",
            "ldap",
        ):
            self.assertEqual(getattr(ours, name), getattr(theirs, name), name)
        self.assertIn("; config.ini:4: storage.bucket\nbucket = bucket\n", text)
        self.assertIn("; pypicloud's default\nmode = redirect\n", text)
        self.assertIn("; /srv/config.ini:12: pypi.realm: not taken over: ", text)
        self.assertLess(max(map(len, text.splitlines())), 129)

    def test_what_cannot_be_written(self) -> None:
        """A value that would mean something else in an ini of ours is refused,
        without being shown.
        """
        with self.assertRaises(BadConfig) as caught:
            self.text(
                f"{S3}storage.aws_access_key_id = A\nstorage.aws_secret_access_key = hunter2 ; x\n"
            )
        self.assertIn(
            "config.ini:6: storage.aws_secret_access_key: it cannot be written",
            str(caught.exception),
        )
        self.assertNotIn("hunter2", str(caught.exception))
