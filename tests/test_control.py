"""An answer that comes in lines."""

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.control import Refused, _last, _Lines

EVENTS: list[dict[str, Any]] = [
    {"event": "resolving", "text": "\u00e4\n"},
    {"event": "file", "n": 1},
    {"event": "result", "cached": ["x"]},
]


class LinesTests(SynchronousTestCase):
    @settings(max_examples=60, deadline=None, database=None)
    @given(st.lists(st.integers(0, 120), max_size=8))
    def test_any_pieces(self, cuts: list[int]) -> None:
        """However the bytes are cut, each line is heard once, and the last is the answer."""
        data = b"".join(msgspec.json.encode(event) + b"\n" for event in EVENTS)
        told: list[Any] = []
        lines = _Lines(told.append)
        places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
        for start, stop in pairwise(places):
            lines.feed(data[start:stop])
        self.assertEqual(told, [{"text": "\u00e4\n"}, {"n": 1}])
        self.assertEqual(_last(lines.last), {"cached": ["x"]})

    def test_ends(self) -> None:
        """An error in place of the answer is refused with its text, and so is an answer that breaks off."""
        lines = _Lines(lambda event: None)
        lines.feed(b'{"event":"file"}\n{"event":"error","error":true,"message":"no uv"}\n')
        self.assertEqual(str(self.assertRaises(Refused, _last, lines.last)), "no uv")
        lines = _Lines(lambda event: None)
        lines.feed(b'{"event":"file"}\n{"event":"resu')
        self.assertIn("ended before it answered", str(self.assertRaises(Refused, _last, lines.last)))
