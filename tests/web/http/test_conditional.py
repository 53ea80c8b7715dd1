"""What headers ask for: conditions, ranges, encodings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import Span
from pypid.web.http.headers import (
    ConditionalVerdict,
    Validators,
    choose_encoding,
    choose_error_format,
    http_date,
    judge,
)
from pypid.web.http.responses import still_the_same, wanted

THEN = datetime(2026, 3, 1, 12, 30, 15, 987654, tzinfo=UTC)
OURS = Validators('"abc"', THEN)
anything = settings(max_examples=60, deadline=None, database=None)
pieces = st.lists(
    st.sampled_from(
        [
            "bytes",
            "=",
            "-",
            ",",
            " ",
            "0",
            "9",
            "9" * 5000,
            "²",
            'W/"a"',
            '"abc"',
            '"',
            "*",
            ";q=",
            "gzip",
            "\t",
            "\x00",
        ]
    )
    | st.text(st.characters(max_codepoint=255), max_size=4),
    max_size=8,
).map("".join)


class RangeTests(SynchronousTestCase):
    @anything
    @given(pieces, st.integers(0, 1 << 40))
    def test_never_outside(self, header: str, size: int) -> None:
        """Whatever is asked, a span is not empty and inside the file."""
        match wanted(header, size):
            case Span(start, stop):
                self.assertTrue(0 <= start < stop <= size)

    def test_if_range(self) -> None:
        """If-Range compares strongly, and dates exactly."""
        same = (None, '"abc"', ' "abc" ', http_date(THEN))
        other = (
            'W/"abc"',
            '"abd"',
            "abc",
            "",
            "*x",
            http_date(THEN + timedelta(seconds=1)),
            http_date(THEN - timedelta(seconds=1)),
        )
        for text in same:
            self.assertTrue(still_the_same(text, OURS), text)
        for text in other:
            self.assertFalse(still_the_same(text, OURS), text)
        self.assertFalse(still_the_same('"abc"', Validators()))


class ConditionTests(SynchronousTestCase):
    def test_preconditions(self) -> None:
        """If-Match compares strongly and fails a request; If-Unmodified-Since counts only without
        it.
        """
        self.assertIs(judge({"if-match": '"abc"'}, OURS), ConditionalVerdict.SEND)
        self.assertIs(judge({"if-match": 'W/"abc"'}, OURS), ConditionalVerdict.FAILED)
        late, early = http_date(THEN), http_date(THEN - timedelta(days=1))
        self.assertIs(judge({"if-unmodified-since": early}, OURS), ConditionalVerdict.FAILED)
        self.assertIs(judge({"if-unmodified-since": late}, OURS), ConditionalVerdict.SEND)
        self.assertIs(
            judge({"if-match": "*", "if-unmodified-since": early}, OURS), ConditionalVerdict.SEND
        )

    @anything
    @given(pieces | st.text(max_size=40))
    def test_never_raises(self, text: str) -> None:
        """No header makes a rule raise."""
        for name in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"):
            judge({name: text}, OURS)
        still_the_same(text, OURS)
        choose_encoding(text)
        choose_error_format(text)
