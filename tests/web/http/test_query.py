"""What stands behind the question mark."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadRequest
from pypid.web.http.request import Request, number, parameters


def asked(query: bytes) -> Request:
    """A request of which only the address matters."""
    return cast(Request, SimpleNamespace(uri=b"/api/x?" + query))


class ParametersTests(SynchronousTestCase):
    @given(st.binary(max_size=60))
    @settings(max_examples=75, deadline=None, database=None)
    def test_any_bytes(self, query: bytes) -> None:
        """Whatever bytes come, the names are those that are known, or it is refused."""
        try:
            found = parameters(asked(query), "a", "b")
        except BadRequest:
            return
        self.assertLessEqual(set(found), {"a", "b"})

    def test_refused(self) -> None:
        """Unknown names, names that come twice, and what is no UTF-8 are refused."""
        for query in (
            b"x=1",
            b"a=1&a=2",
            b"a=%ff",
            b"a=\xff",
            b"a=1&x",
            b"a=%00",
            b"&".join([b"a=1"] * 60),
        ):
            self.assertRaises(BadRequest, parameters, asked(query), "a")
        self.assertEqual(parameters(asked(b""), "a"), {})

    @given(st.text(max_size=25))
    @settings(max_examples=60, deadline=None, database=None)
    def test_numbers(self, text: str) -> None:
        """A number is one within its bounds, in plain digits; all else is refused."""
        try:
            found = number({"most": text}, "most", 1, 1000)
        except BadRequest:
            return
        assert found is not None
        self.assertTrue(1 <= found <= 1000 and text.isascii())
