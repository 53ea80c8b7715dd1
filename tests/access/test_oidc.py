"""Trusted publishing in memory: an issuer that answers over HTTP, tokens good and bad, and what is
written down.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, cast

from attrs import define, evolve, field
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pypid.access import oidc
from pypid.access.accounts import SqlAccounts
from pypid.access.oidc import (
    AFTER_FAILURE,
    AGAIN,
    AT_ONCE,
    DISCOVERY,
    FRESH,
    LARGEST,
    LIFETIME,
    PATIENCE,
    WAITING,
    read_keys,
)
from pypid.access.tokens import token_digest
from pypid.core.accounts.identity_tokens import LEEWAY
from pypid.core.accounts.rights import AuditEntry, Minted, Token
from pypid.core.configuration.keys import IssuerSettings
from pypid.core.errors import Busy, MintRefused, PeopleUnknown
from pypid.core.permissions import NOBODY, Action, Identity, Rules, may
from pypid.database.logs import SqlJournal
from pypid.flow import at_once, start
from pypid.http_client.connections import HttpConnections
from tests.access.wired_agent import Wired
from tests.issuers import (
    Documents,
    Key,
    b64,
    curve_key,
    edwards_key,
    github,
    jwt,
    number,
    rsa_key,
    segment,
)
from tests.support.worlds import Awaiting, Turns, world

quick = settings(max_examples=50, deadline=None, database=None)

URL = "https://issuer.example"
JWKS = "/.well-known/jwks"
RULES = (
    "app repository=octo/app ref=refs/heads/main as_user=alice",
    "lib-* repository_owner=octo environment=release",
)
ISSUERS = {"github": IssuerSettings(url=URL, allow=RULES)}


class Published(Resource):
    """What the issuer answers: its documents, or what a test puts in their place."""

    isLeaf = True

    def __init__(self, documents: Documents) -> None:
        super().__init__()
        self.documents = documents
        self.asked: list[str] = []
        self.replaced: dict[str, bytes] = {}
        self.status = 200
        self.held = False

    def render_GET(self, request: Any) -> Any:
        """One question."""
        path = request.path.decode()
        self.asked.append(path)
        if self.held:
            request.write(b"{")
            return NOT_DONE_YET
        request.setResponseCode(self.status)
        request.setHeader("Location", "https://elsewhere.example/")
        said = {DISCOVERY: self.documents.discovery(), JWKS: self.documents.jwks()}
        return self.replaced.get(path) or json.dumps(said[path]).encode()


@define(slots=False)
class Books:
    """What is written down: tokens, used ids and deeds. `away` is what everything raises."""

    tokens: list[Token] = field(factory=list)
    used: dict[tuple[str, str], datetime] = field(factory=dict)
    deeds: list[AuditEntry] = field(factory=list)
    away: PeopleUnknown | None = None

    async def add_token(self, token: Token) -> None:
        """As `Accounts.add_token`."""
        self.tokens.append(token)

    async def once(self, kind: str, value: str, until: datetime) -> bool:
        """As `Accounts.once`."""
        if self.away is not None:
            raise self.away
        is_new = (kind, value) not in self.used
        self.used[kind, value] = until
        return is_new

    async def note(self, deed: AuditEntry) -> None:
        """As `Journal.note`."""
        self.deeds.append(deed)


class MintCase(Awaiting, SynchronousTestCase):
    """An issuer in memory, and who trusts it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns: Turns | None = None
        self.world = world(
            self.clock,
            lambda call, *given: (at_once if self.turns is None else self.turns)(call, *given),
        )
        self.documents = Documents(URL)
        self.site = Published(self.documents)
        self.wired = Wired(cast(Any, self.site), self.clock)
        self.books = Books()
        accounts, journal = cast(SqlAccounts, self.books), cast(SqlJournal, self.books)
        self.publishers = oidc.open(
            ISSUERS,
            accounts,
            journal,
            self.world,
            HttpConnections(lambda: (self.wired, cast(Any, None))),
        )

    def token(self, **options: Any) -> str:
        """A good token, but for the options."""
        return self.documents.token(self.world.now(), **options)

    def mint(self, token: str) -> Minted:
        """What is given for it."""
        return self.have(self.publishers.mint(token, "192.0.2.7"))

    def assert_refused(self, token: str, *words: str, code: str = "invalid-token") -> None:
        """The token is refused, for this reason, and nothing is given or used up."""
        given, used = len(self.books.tokens), len(self.books.used)
        error = self.refused(self.publishers.mint(token, "192.0.2.7"), MintRefused)
        assert isinstance(error, MintRefused)
        self.assertEqual(error.code, code, error)
        for word in words:
            self.assertIn(word, str(error))
        self.assertNotIn(token.rpartition(".")[2] or "\0", str(error))
        self.assertEqual((len(self.books.tokens), len(self.books.deeds)), (given, given))
        if code != "invalid-reuse-token":
            self.assertEqual(len(self.books.used), used)


class MintTests(MintCase):
    """A good token."""

    def test_token(self) -> None:
        """It gives a token of ours for a quarter of an hour, with which the projects of the rules
        can be read and published.
        """
        minted = self.mint(self.token())
        self.assertEqual(minted.expires, self.world.now() + LIFETIME)
        self.assertEqual(LIFETIME, timedelta(seconds=900))
        self.assertNotIn(minted.secret, repr(minted))
        [stored] = self.books.tokens
        self.assertEqual(stored.as_user, "alice")
        self.assertEqual(stored.digest, token_digest(minted.secret))
        self.assertEqual(
            (stored.publisher, stored.expires, stored.created),
            (True, minted.expires, self.world.now()),
        )
        self.assertEqual(stored.user, "github:repo:octo/app:ref:refs/heads/main")
        who = Identity(stored.user, scope=stored.scope, publisher=stored.publisher)
        rules = Rules(read=NOBODY, write=NOBODY)
        allowed = [
            (n, a)
            for n in ("app", "app-x", "lib-x")
            for a in Action
            if may(rules, who, a, cast(Any, n))
        ]
        self.assertEqual(allowed, [("app", Action.READ), ("app", Action.WRITE)])

    def test_deed(self) -> None:
        """The audit log says which workflow was given a token, of which commit, for which projects,
        and from where it asked.
        """
        self.mint(self.token())
        [deed] = self.books.deeds
        [token] = self.books.tokens
        self.assertEqual(
            (deed.what, deed.who, deed.subject, deed.where),
            ("token mint", token.user, token.id, "192.0.2.7"),
        )
        said = github()
        expected = {
            "issuer": URL,
            "projects": "app",
            **{name: said[name] for name in ("repository", "ref", "sha", "run_id")},
        }
        self.assertEqual({**deed.details, **expected}, dict(deed.details))

    def test_algorithms(self) -> None:
        """Every algorithm that is taken is verified."""
        curves = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
        keys: dict[str, Key] = {
            f"{family}{size}": rsa_key() for family in ("RS", "PS") for size in (256, 384, 512)
        }
        keys |= {name: curve_key(name, curve) for name, curve in curves.items()} | {
            "EdDSA": edwards_key()
        }
        self.documents.keys = list({id(key): key for key in keys.values()}.values())
        for algorithm, key in keys.items():
            self.mint(self.token(header={"alg": algorithm}, key=key))
        self.assertEqual(len(self.books.tokens), 10)

    def test_without_the_name_of_a_key(self) -> None:
        """A token that names no key is checked with the only one; where there are two, it is
        refused.
        """
        self.mint(self.token(header={"kid": None}))
        self.documents.keys.append(rsa_key("two"))
        self.clock.advance(FRESH)
        self.assert_refused(self.token(header={"kid": None}), "does not have (kid)")


class ForgeryTests(MintCase):
    """Tokens that somebody else made."""

    def test_none(self) -> None:
        """A token that says it needs no signature is refused, with an empty one and with any."""
        for algorithm in ("none", "None", "NONE"):
            bare = jwt({"alg": algorithm, "typ": "JWT"}, self.documents.claims(self.world.now()))
            self.assert_refused(bare)
            self.assert_refused(bare + "c2ln", "algorithm is not taken")
        self.assert_refused(self.token().rpartition(".")[0] + ".", "no signature")
        self.assertEqual(self.site.asked, [])

    def test_public_key_as_secret(self) -> None:
        """The issuer's public key is no secret: HS256 with it, however it is spelled, is refused
        before a key is looked for.
        """
        key = rsa_key()
        claims = self.documents.claims(self.world.now())
        secrets = (
            key.pem(),
            key.pem().strip(),
            json.dumps(key.jwk()).encode(),
            number(key.private.public_key().public_numbers().n).encode(),
        )
        for secret in secrets:
            self.assert_refused(
                jwt({"alg": "HS256", "typ": "JWT", "kid": "one"}, claims, secret=secret),
                "algorithm is not taken",
            )

    def test_symmetric_keys(self) -> None:
        """A secret that an issuer publishes as a key is passed over."""
        jwks = {"keys": [{"kty": "oct", "kid": "one", "k": b64(b"x" * 32), "alg": "RS256"}]}
        self.site.replaced[JWKS] = json.dumps(jwks).encode()
        self.assert_refused(self.token(), "does not have (kid)")

    def test_altered(self) -> None:
        """One letter changed anywhere, or anything taken from another token, and the signature is
        not good.
        """
        token, other = (self.token(repository=name).split(".") for name in ("octo/app", "evil/app"))
        header = segment({"typ": "JWT", "alg": "RS384", "kid": "one"})
        for parts in (
            [token[0], other[1], token[2]],
            [token[0], token[1], other[2]],
            [header, token[1], token[2]],
            [token[0], token[1], token[2][:-8]],
            [token[0], token[1], "A" * len(token[2])],
            [token[0], token[1], b64(b"")],
            [token[0], token[1], "A"],
        ):
            self.assert_refused(".".join(parts))
        for place in range(0, len(token[2]) - 2, 29):
            letter = "A" if token[2][place] != "A" else "B"
            self.assert_refused(
                ".".join([*token[:2], token[2][:place] + letter + token[2][place + 1 :]]),
                "signature is not good",
            )

    def test_another_key(self) -> None:
        """A key that is not the issuer's, under the name of one that is, signs nothing."""
        self.assert_refused(
            self.token(key=rsa_key("evil"), header={"kid": "one"}), "signature is not good"
        )

    def test_a_key_of_another_kind(self) -> None:
        """A key is used with the algorithms of its kind only, whatever the token says."""
        self.documents.keys = [rsa_key(), curve_key("p-256"), curve_key("p-384", ec.SECP384R1)]
        for key, algorithm in (
            (curve_key("p-384", ec.SECP384R1), "ES256"),
            (curve_key("p-256"), "ES384"),
            (curve_key("p-256"), "ES512"),
        ):
            self.assert_refused(
                self.token(key=key, header={"alg": algorithm}), "does not have (kid)"
            )
        self.assert_refused(self.token(header={"kid": "p-256"}), "does not have (kid)")

    def test_weak_and_unfit_keys(self) -> None:
        """Keys of 1024 bits, for encryption, for another algorithm, damaged ones and leaked private
        ones are passed over.
        """
        good = rsa_key().jwk()
        for bad in (
            rsa_key("one", 1024).jwk(),
            {**good, "use": "enc"},
            {**good, "alg": "RS512"},
            {**good, "alg": ["RS256"]},
            {**good, "d": good["n"]},
            {**good, "n": "!"},
            {**good, "n": 7},
            {**good, "e": ""},
            {**good, "kty": ["RSA"]},
            {**good, "kid": 1},
            {"kty": "RSA", "kid": "one"},
        ):
            self.setUp()
            self.site.replaced[JWKS] = json.dumps({"keys": [bad]}).encode()
            self.assert_refused(self.token(), "does not have (kid)")

    def test_brought_along(self) -> None:
        """A key that the token brings along, or names the place of, is neither used nor fetched."""
        evil = rsa_key("evil")
        for more in (
            {"jku": "https://issuer.example/evil"},
            {"x5u": "https://issuer.example/evil"},
            {"jwk": evil.jwk()},
            {"x5c": ["AA=="]},
        ):
            self.assert_refused(
                self.token(key=evil, header={"kid": "one", **more}), "signature is not good"
            )
        self.assertEqual(set(self.site.asked), {DISCOVERY, JWKS})

    def test_names_of_keys(self) -> None:
        """A key's name is looked up, and is otherwise nothing: no path, no query."""
        for name in (
            "../../etc/passwd",
            "/dev/null",
            "' OR 1=1 --",
            "one\0",
            "one ",
            "ONE",
            "http://evil.example/",
            "\u202eeno",
            "{}",
        ):
            self.assert_refused(self.token(header={"kid": name}), "does not have (kid)")
        self.assertEqual(self.site.asked, [DISCOVERY, JWKS])

    def test_strange_issuers(self) -> None:
        """An issuer that is not trusted is not even asked for its keys, however like a trusted one
        it looks.
        """
        for issuer in (
            "https://evil.example",
            URL + ".evil.example",
            URL + "//",
            URL + "/x",
            URL + "@evil.example",
            "http://issuer.example",
        ):
            self.assert_refused(self.token(iss=issuer), "is not trusted here")
        self.assertEqual(self.site.asked, [])

    def test_claims(self) -> None:
        """What is signed must still be for us, for now, and have an id: each is refused as what it
        is.
        """
        now = self.world.now().timestamp()
        for claims, word in (
            ({"aud": "pypi"}, "another audience"),
            ({"exp": now - 60}, "expired"),
            ({"iat": now + 61}, "from the future"),
            ({"nbf": now + 61}, "from the future"),
            ({"exp": now + 90_000}, "too long"),
            ({"jti": None}, "(jti)"),
            ({"sub": None}, "(sub)"),
        ):
            self.assert_refused(self.token(**claims), word)

    def test_old(self) -> None:
        """A token that was good is not good any more when its time is over."""
        token = self.token()
        self.clock.advance((timedelta(minutes=5) + LEEWAY).total_seconds())
        self.assert_refused(token, "expired")


class ReplayTests(MintCase):
    """A token is good once."""

    def test_again(self) -> None:
        """Shown again it is refused, also where its rules have changed meanwhile; its id is kept
        until it has expired.
        """
        token = self.token()
        self.mint(token)
        self.assert_refused(token, "used before", code="invalid-reuse-token")
        [until] = self.books.used.values()
        self.assertEqual(until, self.world.now() + timedelta(minutes=5) + LEEWAY)

    def test_at_once(self) -> None:
        """Shown ten times in the same moment it gives one token."""
        token = self.token()
        self.mint(self.token())
        self.turns = Turns()
        asked = [start(self.publishers.mint(token, "")) for _ in range(10)]
        while len(self.turns):
            self.turns.all()
        minted = [
            d
            for d in asked
            if not isinstance(d.result, Minted)
            and d.addErrback(lambda f: f.trap(MintRefused)) is None
        ]
        self.assertEqual((minted, len(self.books.tokens)), ([], 2))

    def test_same_id_of_another(self) -> None:
        """Ids are each issuer's own."""
        other = Documents("https://other.example")
        issuers = {**ISSUERS, "other": IssuerSettings(url=other.url, allow=("app sub=*o*",))}
        self.publishers.trust(issuers)
        self.mint(self.token(jti="same"))
        self.site.documents = other
        self.mint(other.token(self.world.now(), jti="same"))

    def test_no_rule_uses_nothing_up(self) -> None:
        """A token that no rule fits tells what it says, and can be shown again when the rule is
        there.
        """
        token = self.token(repository="octo/else", sub="repo:octo/else:pull_request\n")
        words = (
            "[issuer:github] allow",
            "sub=repo:octo/else:pull_request\\n",
            "repository=octo/else",
            "ref=refs/heads/main",
        )
        self.assert_refused(token, *words, code="invalid-publisher")
        allow = ("app repository=octo/else",)
        self.publishers.trust({"github": evolve(ISSUERS["github"], allow=allow)})
        self.mint(token)
        self.assertEqual(self.site.asked, [DISCOVERY, JWKS])

    def test_a_client_that_goes_away(self) -> None:
        """Once its id is being used up the token is made and written down, though nobody waits for
        it any more.
        """
        asking: Deferred[None] = Deferred()
        once = self.books.once

        async def slowly(kind: str, value: str, until: datetime) -> bool:
            await asking
            return await once(kind, value, until)

        self.books.once = slowly  # type: ignore[method-assign]
        asked = start(self.publishers.mint(self.token(), ""))
        asked.cancel()
        self.failureResultOf(asked)
        self.assertEqual(self.books.deeds, [])
        asking.callback(None)
        self.assertEqual(
            [deed.subject for deed in self.books.deeds], [token.id for token in self.books.tokens]
        )
        self.assertEqual(len(self.books.tokens), 1)

    def test_accounts_away(self) -> None:
        """Where nobody can say whether it was used before, nothing is given."""
        self.books.away = PeopleUnknown("the accounts database")
        self.refused(self.publishers.mint(self.token(), ""), PeopleUnknown)
        self.assertEqual(self.books.tokens, [])


class KeysTests(MintCase):
    """How keys are had, kept and renewed."""

    def test_withdrawn(self) -> None:
        """A key that the issuer has withdrawn is good for an hour at most."""
        self.mint(self.token())
        self.documents.keys = [rsa_key("two")]
        self.clock.advance(FRESH)
        self.assert_refused(self.token(key=rsa_key()), "does not have (kid)")

    def test_unknown(self) -> None:
        """A key that is not known is asked for, but not more often than each minute, whatever names
        are made up.
        """
        self.mint(self.token())
        self.documents.keys.append(rsa_key("two"))
        for count in range(5):
            self.assert_refused(
                self.token(key=rsa_key("two"), header={"kid": f"made up {count}"}), "a minute ago"
            )
        self.assert_refused(self.token(key=rsa_key("two")), "a minute ago")
        self.assertEqual(self.site.asked, [DISCOVERY, JWKS])
        self.clock.advance(AGAIN)
        self.mint(self.token(key=rsa_key("two")))
        self.assert_refused(self.token(header={"kid": "made up"}), "a minute ago")
        self.assertEqual(self.site.asked, [DISCOVERY, JWKS] * 2)

    def test_unknown_while_it_is_away(self) -> None:
        """While the issuer is away made-up names make us ask no more often either, and known keys
        go on being good.
        """
        self.mint(self.token())
        self.clock.advance(AGAIN)
        self.site.status = 500
        self.refused(self.publishers.mint(self.token(header={"kid": "made up"}), ""), PeopleUnknown)
        self.clock.advance(AGAIN / 2)
        self.assert_refused(self.token(header={"kid": "made up"}), "a minute ago")
        self.mint(self.token())
        self.assertEqual(self.site.asked, [DISCOVERY, JWKS, DISCOVERY])
        self.flushLoggedErrors()

    def test_away(self) -> None:
        """An issuer that gives no keys makes it 503, with a warning, and is left alone for ten
        seconds.
        """
        discovery = self.documents.discovery
        answers: list[tuple[str, bytes]] = [
            (DISCOVERY, b"<html>"),
            (DISCOVERY, b"[]"),
            (DISCOVERY, b"x" * (LARGEST + 1)),
            (DISCOVERY, json.dumps(discovery(issuer="https://other.example")).encode()),
            (DISCOVERY, json.dumps(discovery(issuer=None)).encode()),
            (DISCOVERY, json.dumps(discovery(jwks_uri="http://issuer.example/jwks")).encode()),
            (DISCOVERY, json.dumps(discovery(jwks_uri="http://127.0.0.1/jwks")).encode()),
            (DISCOVERY, json.dumps(discovery(jwks_uri="file:///etc/passwd")).encode()),
            (DISCOVERY, json.dumps(discovery(jwks_uri="https://[")).encode()),
            (DISCOVERY, json.dumps(discovery(jwks_uri="https://\xe9.example/")).encode()),
            (DISCOVERY, json.dumps(discovery(jwks_uri="https://h.example:x/")).encode()),
            (DISCOVERY, json.dumps(discovery(jwks_uri="https://h.example/ x\r\nHost: y")).encode()),
            (DISCOVERY, json.dumps(discovery(jwks_uri=7)).encode()),
            (JWKS, b"[]"),
            (JWKS, b'{"keys": {}}'),
            (JWKS, b"[" * 10_000),
        ]
        for path, answer in answers:
            self.setUp()
            self.site.replaced[path] = answer
            self.check_away(answer[:200])

    def test_statuses(self) -> None:
        """Redirects are not followed, and what is no 200 is no answer."""
        for status in (301, 302, 307, 404, 500):
            self.setUp()
            self.site.status = status
            self.check_away(status)

    def check_away(self, what: object) -> None:
        """Nobody can publish now, and ten seconds later, when the issuer is well again, somebody
        can.
        """
        with listening() as events:
            error = self.refused(self.publishers.mint(self.token(), ""), PeopleUnknown)
        assert isinstance(error, PeopleUnknown)
        self.assertEqual(error.retry_after, AFTER_FAILURE, what)
        self.assertIn("cannot fetch the keys of https://issuer.example", "\n".join(events), what)
        asked = len(self.site.asked)
        self.refused(self.publishers.mint(self.token(), ""), PeopleUnknown)
        self.assertEqual(len(self.site.asked), asked, what)
        self.site.replaced, self.site.status = {}, 200
        self.clock.advance(AFTER_FAILURE)
        self.mint(self.token())

    def test_silent(self) -> None:
        """An issuer that does not finish its answer is given up after ten seconds."""
        self.site.held = True
        asked = start(self.publishers.mint(self.token(), ""))
        self.wired.flow()
        self.clock.advance(PATIENCE - 1)
        self.assertNoResult(asked)
        self.clock.advance(1)
        self.failureResultOf(asked, PeopleUnknown)

    def test_a_client_that_goes_away(self) -> None:
        """The question for keys goes on for those who come after it."""
        self.turns = Turns()
        asked = start(self.publishers.mint(self.token(), ""))
        asked.cancel()
        asked.addErrback(lambda _: None)
        later = start(self.publishers.mint(self.token(), ""))
        while len(self.turns):
            self.turns.all()
        self.successResultOf(later)
        self.assertEqual(self.site.asked, [DISCOVERY, JWKS])

    def test_too_many(self) -> None:
        """Only some are looked at at once, only some may wait, and the others are told to come
        again.
        """
        self.mint(self.token())
        self.turns = Turns()
        asked = [start(self.publishers.mint(self.token(), "")) for _ in range(AT_ONCE + WAITING)]
        self.assertEqual(len(self.turns), AT_ONCE)
        self.refused(self.publishers.mint(self.token(), ""), Busy)
        while len(self.turns):
            self.turns.all()
        for each in asked:
            self.successResultOf(each)
        self.mint_in_turns()

    def mint_in_turns(self) -> None:
        """There is room again."""
        asked: Deferred[Minted] = start(self.publishers.mint(self.token(), ""))
        assert self.turns is not None
        self.turns.all()
        self.successResultOf(asked)

    def test_nothing_in_the_log(self) -> None:
        """Neither tokens that are shown nor those that are given come into the log."""
        token = self.token()
        with listening() as events:
            minted = self.mint(token)
            self.assert_refused(token, code="invalid-reuse-token")
            self.assert_refused(self.token(aud="x"))
        written = "\n".join(events) + repr(self.publishers) + repr(self.books.deeds)
        for secret in (token, token.rpartition(".")[2], minted.secret):
            self.assertNotIn(secret, written)

    @quick
    @given(
        st.recursive(
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(),
                st.text(max_size=6),
                st.sampled_from(["RSA", "EC", "OKP", "P-256", "AQAB"]),
            ),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(
                    st.sampled_from(
                        ["keys", "kty", "crv", "n", "e", "x", "y", "alg", "use", "kid"]
                    ),
                    inner,
                    max_size=8,
                ),
            ),
            max_leaves=20,
        )
    )
    def test_any_keys(self, document: object) -> None:
        """Whatever an issuer publishes as keys, they are read, passed over, or it is a
        `ValueError`.
        """
        for shape in (document, {"keys": [document]}, {"keys": document}):
            try:
                keys = read_keys(json.dumps(shape).encode())
            except ValueError:
                continue
            self.assertTrue(all(key.algorithms for key in keys))


@contextmanager
def listening() -> Iterator[list[str]]:
    """All that is logged meanwhile."""
    events: list[str] = []

    def observe(event: LogEvent) -> None:
        events.append(eventAsText(event) + repr(event))

    observer: Callable[[LogEvent], None] = observe
    globalLogPublisher.addObserver(observer)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(observer)
