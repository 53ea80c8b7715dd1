"""Messages between workers: lines that arrive in any pieces, and what is told reaches whoever
listens.
"""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pypid import prefork
from pypid.prefork.messages import LONGEST, GarbledMessage, Message, MessageParser, Siblings, encode

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
MESSAGES = st.lists(st.dictionaries(st.text(), JSON, max_size=5), max_size=6)


class LinesTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None, database=None)
    @given(MESSAGES, st.lists(st.integers(1, 40)))
    def test_pieces(self, messages: list[dict[str, Any]], sizes: list[int]) -> None:
        """Messages come out as they went in, in their order, however the bytes are cut."""
        data = b"".join(map(encode, messages))
        lines, found = MessageParser(), []
        for size in sizes:
            piece, data = data[:size], data[size:]
            found += lines.feed(piece)
        self.assertEqual([*found, *lines.feed(data)], messages)

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.binary(max_size=200))
    def test_anything(self, data: bytes) -> None:
        """Of any bytes either objects come out, or it is said that they are garbled."""
        try:
            found = MessageParser().feed(data)
        except GarbledMessage:
            return
        self.assertEqual(len(found), data.count(b"\n"))
        for message in found:
            self.assertIsInstance(message, dict)

    def test_too_long(self) -> None:
        """A line that does not end is not collected for ever, and none that long is sent."""
        lines = MessageParser()
        lines.feed(b"x" * (LONGEST - 1))
        self.assertRaises(GarbledMessage, lines.feed, b"x")
        self.assertRaises(ValueError, encode, {"kind": "x" * LONGEST})
        room = LONGEST - len(encode({"kind": ""}))
        self.assertEqual(MessageParser().feed(encode({"kind": "x" * room})), [{"kind": "x" * room}])

    def test_no_json(self) -> None:
        """What JSON does not know is refused where it is sent."""
        for bad in ({"kind": object()}, {"kind": float("nan")}, {"kind": b"bytes"}):
            self.assertRaises(ValueError, encode, bad)
        for line in (b"[]\n", b"1\n", b"{\n", b"\xff\n", b"\n"):
            self.assertRaises(GarbledMessage, MessageParser().feed, line)
        self.assertEqual(json.loads(encode({"kind": "\n"})), {"kind": "\n"})


class SiblingsTests(SynchronousTestCase):
    def test_alone(self) -> None:
        """A single process hears what it tells, and only the kinds that it wants to hear."""
        heard: list[Message] = []
        siblings = Siblings()
        siblings.on("log-level", heard.append)
        siblings.tell({"kind": "log-level", "level": "debug"})
        siblings.tell({"kind": "other"})
        self.assertEqual(heard, [{"kind": "log-level", "level": "debug"}])

    def test_sent(self) -> None:
        """What is told is sent, and heard here; what is heard is not sent on."""
        heard: list[Message] = []
        sent: list[Message] = []
        siblings = Siblings(sent.append)
        siblings.on("a", heard.append)
        siblings.on("a", heard.append)
        siblings.tell({"kind": "a"})
        siblings.hear({"kind": "a"})
        self.assertEqual((len(heard), len(sent)), (4, 1))

    def test_trouble(self) -> None:
        """One who cannot heed a message takes it from nobody else, and the log says so."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        heard: list[Message] = []
        siblings = Siblings()
        siblings.on("a", lambda message: 1 / 0)
        siblings.on("a", heard.append)
        siblings.tell({"kind": "a"})
        self.assertEqual(len(heard), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_bad(self) -> None:
        """What cannot be sent is heard by nobody: all know the same."""
        heard: list[Message] = []
        siblings = Siblings()
        siblings.on("a", heard.append)
        self.assertRaises(ValueError, siblings.tell, {"kind": "a", "what": object()})
        self.assertEqual(heard, [])


class NumberTests(SynchronousTestCase):
    def test_number(self) -> None:
        """A process is the first worker unless it becomes another one."""
        self.addCleanup(prefork.set_number, 1)
        self.assertEqual(prefork.number(), 1)
        prefork.set_number(3)
        self.assertEqual(prefork.number(), 3)

    def test_how_many(self) -> None:
        """What the command line says of them is a number from 1, or there is a word about it."""
        self.assertEqual([prefork.how_many(text) for text in ("1", "04", "1000")], [1, 4, 1000])
        for bad in ("0", "-1", "", "x", "1.5", "1001", "\u0663", "9" * 5000):
            with self.assertRaisesRegex(ValueError, "is not a whole number from 1 to 1000"):
                prefork.how_many(bad)
