"""Search filters with places for who is looked for."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.ldap_filters import (
    GROUP_FILTER,
    USER_FILTER,
    filled,
    group_filter,
    name_attribute,
    user_filter,
)

quick = settings(max_examples=75, deadline=None, database=None)

GOOD = (
    USER_FILTER,
    GROUP_FILTER,
    "(uid={user})",
    "(&(objectClass=user)(sAMAccountName={user})(!(userAccountControl:1.2.840.113556.1.4.803:=2)))",
    "(member:1.2.840.113556.1.4.1941:={dn})",
    "(&(a>=1)(b<=2)(c~=x)(d=*)(e=*x*)(f=\\28\\29)(:dn:2.4.6.8:=x)(o;lang-en=x)(|)(&)(uid={user}))",
    "( & (uid={user}) ( ! (x=y) ) )",
)
BAD = (
    *(
        "",
        " ",
        "uid={user}",
        "(uid={user}",
        "uid={user})",
        "((uid={user}))",
        "(uid={user})(a=b)",
        "(&(uid={user})",
        "(!)",
    ),
    *(
        "(!(uid={user})(a=b))",
        "(={user})",
        "(uid{user})",
        "(a b={user})",
        "(&uid={user})",
        "(uid={user}\0)",
        "\0",
        "(x(uid={user}))",
    ),
)


class Filters(SynchronousTestCase):
    def test_filters(self) -> None:
        """What RFC 4515 calls a filter is one, over several lines too; all else is refused with the
        reason.
        """
        for good in GOOD:
            self.assertEqual(group_filter(good), good)
            self.assertEqual(group_filter(good.replace(")(", ")\n    (")), good)
        for bad in BAD:
            with self.assertRaises(ValueError, msg=bad):
                group_filter(bad)

    def test_user_filter(self) -> None:
        """It compares one attribute with the name, and the name with nothing else: so nobody has
        two.
        """
        for good, attribute in (
            (USER_FILTER, "uid"),
            ("(userPrincipalName={user})", "userPrincipalName"),
            ("(|(&(uid={user})(a=b))(&(UID={user})(c=d)))", "uid"),
        ):
            self.assertEqual(name_attribute(user_filter(good)), attribute)
        for bad in (
            *(
                "(uid=*)",
                "(uid={dn})",
                "(uid={users})",
                "(|(uid={user})(mail={user}))",
                "(|(uid={user})(cn=*{user}*))",
            ),
            *(
                "(&(uid={user})(member={dn}))",
                "(uid~={user})",
                "(uid:={user})",
                "(2.5.4.3={user})",
                "(uid= {user})",
            ),
        ):
            with self.assertRaises(ValueError, msg=bad):
                user_filter(bad)

    @quick
    @given(st.text(alphabet="()&|!=a{}user*\\ \n\0:<>~", max_size=40))
    @example("(" * 40)
    @example("(&" * 20 + "(uid={user})" + ")" * 20)
    def test_any_text(self, text: str) -> None:
        """Any text is refused, or is a filter whose brackets come in pairs and hold no other
        brackets than these.
        """
        try:
            read = user_filter(text)
        except ValueError:
            return
        self.assertEqual(read.count("("), read.count(")"))
        self.assertEqual(user_filter(read), read)

    @quick
    @given(st.text(max_size=20), st.text(max_size=20))
    @example("{dn}", "{user}")
    @example("{user}", "{dn}")
    def test_filled(self, user: str, dn: str) -> None:
        """Each place gets what belongs there, once: what looks like a place in a name is none."""
        said = filled(
            "(|(a={dn})(b={user})(c={other}))", lambda text: f"<{text}>", user=user, dn=dn
        )
        self.assertEqual(said, f"(|(a=<{dn}>)(b=<{user}>)(c={{other}}))")
