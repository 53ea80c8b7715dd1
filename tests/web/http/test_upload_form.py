"""Upload forms as clients send them: `pypid.web.http.upload_form`. (The letters C61 ... are the project's list
of client behaviour.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from hashlib import sha256
from itertools import pairwise

from attrs import define, field
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadRequest, PypidError, TooLarge
from pypid.core.model import Checksum, Digests
from pypid.core.packaging.upload import UploadFields
from pypid.flow.spool import Hashes
from pypid.web.http.upload_form import Limits, file_name_in, read_form

WHEEL = b"PK\x03\x04\r\n--\r\n\r\n---" + bytes(range(256)) * 3 + b"\r\n--bound\r"
"""What stands for a distribution: with all that looks like a boundary, and a CR at its end."""
DISTUTILS = "--------------GHSKFJDLGDS7543FJKLFHRE75642756743254"
ROOMY = Limits(content=1 << 20)

Part = tuple[str, "str | bytes"]


@define
class Collecting:
    """A spool in memory."""

    data: bytearray = field(factory=bytearray)
    finished: bool = False
    wanted: list[tuple[int, frozenset[Checksum]]] = field(factory=list)
    """What was wanted when so many bytes had come."""

    def want(self, checksums: Iterable[Checksum]) -> None:
        self.wanted.append((len(self.data), frozenset(checksums)))

    async def write(self, data: bytes) -> None:
        self.data += data

    async def finish(self) -> Digests:
        self.finished = True
        hashes = Hashes()
        hashes.update(bytes(self.data))
        return hashes.digests()


@define
class Pieces:
    """A body of given pieces."""

    pieces: Sequence[bytes]
    size: int | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if piece:
                yield piece

    async def aclose(self) -> None:
        return None


def form_of(
    parts: Sequence[Part], boundary: str, *, newline: bytes = b"\r\n", leading: bool = False
) -> bytes:
    """A multipart body; a part is the rest of its Content-Disposition (and further headers), and
    its value.

    `leading`: with the line end before the first boundary that distutils sends.
    """
    line = b"--" + boundary.encode()
    body = newline if leading else b""
    for headers, value in parts:
        disposition = f"Content-Disposition: form-data; {headers}".encode().replace(
            b"\r\n", newline
        )
        data = value.encode() if isinstance(value, str) else value
        body += line + newline + disposition + newline * 2 + data + newline
    return body + line + b"--" + newline


def text(name: str, value: str) -> Part:
    return (f'name="{name}"', value)


def content(headers: str = "", filename: str = "a-1-py3-none-any.whl") -> Part:
    return (f'name="content"; filename="{filename}"{headers}', WHEEL)


def read(
    body: bytes, content_type: str, *, limits: Limits = ROOMY, cuts: Sequence[int] = ()
) -> tuple[UploadFields, Collecting]:
    """Read a form whose bytes come in pieces."""
    spool = Collecting()
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[first:last] for first, last in pairwise(edges)]
    done = Deferred.fromCoroutine(
        read_form(Pieces(pieces), content_type, limits=limits, spool=spool)
    )
    results: list[UploadFields] = []
    errors: list[BaseException] = []
    done.addCallbacks(results.append, lambda failure: errors.append(failure.value))
    if errors:
        raise errors[0]
    return results[0], spool


OCTETS = "\r\nContent-Type: application/octet-stream"
BASICS = [text(":action", "file_upload"), text("protocol_version", "1")]
CLIENTS: dict[str, tuple[str, bytes, dict[str, tuple[str, ...]]]] = {
    # name: (Content-Type, body, some of the fields that it must give)
    "twine": (
        "multipart/form-data; boundary=4b1c6b5a0f3f4f0bb0a4c8c58e1fb2f5",
        form_of(
            [
                text("name", "a"),
                text("classifiers", "One"),
                text("classifiers", "Two"),
                text("description", "Gr\u00fc\u00dfe\r\n\r\n-- \r\n"),
                *BASICS,
                text("sha256_digest", "ab"),
                ('name="gpg_signature"; filename="a-1-py3-none-any.whl.asc"', "-----BEGIN PGP"),
                content(OCTETS),
            ],
            "4b1c6b5a0f3f4f0bb0a4c8c58e1fb2f5",
        ),
        {
            "classifiers": ("One", "Two"),
            "description": ("Gr\u00fc\u00dfe\r\n\r\n-- \r\n",),
            ":action": ("file_upload",),
        },
    ),
    "uv": (  # the file has no Content-Type, and attestations come after it
        "multipart/form-data; boundary=1f8b8c9d-2a4e-4f6e-9c3f-0d2c5b7a9e11",
        form_of(
            [
                *BASICS,
                text("requires_python", ""),
                content(),
                text("attestations", '[{"version": 1}]'),
            ],
            "1f8b8c9d-2a4e-4f6e-9c3f-0d2c5b7a9e11",
        ),
        {"requires_python": ("",), "attestations": ('[{"version": 1}]',)},
    ),
    "flit": (
        "multipart/form-data; boundary=0b9f0aef9a5c4a4b9c7d5f2e8d1c6a3b",
        form_of(
            [*BASICS, text("metadata_version", "2.3"), content()],
            "0b9f0aef9a5c4a4b9c7d5f2e8d1c6a3b",
        ),
        {"metadata_version": ("2.3",)},
    ),
    "pdm": (  # empty fields, and the signature as two texts
        "multipart/form-data; boundary=5f0d4c3b2a19487e8f6d5c4b3a291807",
        form_of(
            [
                *BASICS,
                text("home_page", ""),
                text("license", ""),
                text("gpg_signature", "a-1-py3-none-any.whl.asc"),
                text("gpg_signature", "-----BEGIN PGP"),
                content(OCTETS),
            ],
            "5f0d4c3b2a19487e8f6d5c4b3a291807",
        ),
        {"home_page": ("",), "license": ("",)},
    ),
    # the file in the middle, a misspelt field, a CRLF before everything
    "distutils of Python 2.7": (
        f"multipart/form-data; boundary={DISTUTILS}",
        form_of(
            [
                text("protcol_version", "1"),
                content(),
                text("license", "UNKNOWN"),
                text(":action", "file_upload"),
            ],
            DISTUTILS,
            leading=True,
        ),
        {"protcol_version": ("1",), "license": ("UNKNOWN",), ":action": ("file_upload",)},
    ),
    "distutils of Python 3.6": (
        f"multipart/form-data; boundary={DISTUTILS}",
        form_of(
            [*BASICS, text("metadata_version", "1.0"), content(), text("license", "UNKNOWN")],
            DISTUTILS,
            leading=True,
        ),
        {"metadata_version": ("1.0",)},
    ),
    "distutils of Python 3.11": (
        f"multipart/form-data; boundary={DISTUTILS}",
        form_of(
            [*BASICS, text("pyversion", ""), text("license", "None"), content()],
            DISTUTILS,
            leading=True,
        ),
        {"pyversion": ("",), "license": ("None",)},
    ),
    "a quoted boundary": (
        'multipart/form-data; charset=utf-8; boundary="a b/c=d:e"',
        form_of([*BASICS, content()], "a b/c=d:e"),
        {},
    ),
    "a boundary that should be quoted": (
        "Multipart/Form-Data;BOUNDARY=----=_Part_1/2:3?",
        form_of([*BASICS, content()], "----=_Part_1/2:3?"),
        {},
    ),
    "a preamble and an epilogue": (
        "multipart/form-data; boundary=x",
        b"This is a form.\r\nIgnore me.\r\n"
        + form_of([*BASICS, content()], "x")
        + b"And me.\r\n--x\r\n",
        {},
    ),
}


class ClientTests(SynchronousTestCase):
    """What each client sends is understood, however the network cuts it."""

    def check(self, name: str, cuts: Sequence[int]) -> None:
        content_type, body, expected = CLIENTS[name]
        form, spool = read(body, content_type, cuts=cuts)
        self.assertEqual(bytes(spool.data), WHEEL)
        self.assertEqual(form.filename, "a-1-py3-none-any.whl")
        digests = form.content_digests
        assert digests is not None
        self.assertEqual((digests.sha256, digests.size), (sha256(WHEEL).hexdigest(), len(WHEEL)))
        self.assertEqual({key: form.fields[key] for key in expected}, expected)
        self.assertNotIn("content", form.fields)
        self.assertNotIn("gpg_signature", form.fields)

    def test_whole(self) -> None:
        """Every client's form, in one piece and byte by byte (C61, C63)."""
        for name, (_, body, _) in CLIENTS.items():
            self.check(name, [])
            self.check(name, range(len(body)))

    @given(st.sampled_from(sorted(CLIENTS)), st.lists(st.integers(0, 3000), max_size=8))
    @settings(max_examples=60, deadline=None, database=None)
    def test_cuts(self, name: str, cuts: list[int]) -> None:
        """The cuts do not matter."""
        self.check(name, cuts)

    @given(st.binary(max_size=200), st.lists(st.integers(0, 400), max_size=5))
    @settings(max_examples=60, deadline=None, database=None)
    def test_any_content(self, data: bytes, cuts: list[int]) -> None:
        """Any bytes come through as they are."""
        form, spool = read(
            form_of([('name="content"; filename="f"', data)], "bnd"),
            "multipart/form-data; boundary=bnd",
            cuts=cuts,
        )
        self.assertEqual(bytes(spool.data), data)
        self.assertEqual(form.content_digests and form.content_digests.size, len(data))

    def test_latin_1(self) -> None:
        """Text that is not UTF-8 is read as latin-1."""
        form, _ = read(
            form_of([('name="author"', b"J\xfcrgen")], "x"), "multipart/form-data; boundary=x"
        )
        self.assertEqual(form.fields["author"], ("J\u00fcrgen",))


class FileNameTests(SynchronousTestCase):
    """File names are passed on as they were sent: rules refuse them, nobody repairs them (C68)."""

    def test_hostile(self) -> None:
        """Paths are kept, for the rules to see."""
        for name in (
            "../../etc/passwd",
            "a/b.whl",
            "C:\\dir\\a.whl",
            "\\\\host\\a.whl",
            "a\0.whl",
            "..",
            "a;b=c.whl",
            "\u00fc.whl",
            "",
        ):
            form, _ = read(
                form_of([content(filename=name)], "x"), "multipart/form-data; boundary=x"
            )
            self.assertEqual(form.filename, name.replace("\\\\", "\\"))  # a quoted pair

    @given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=60))
    @settings(max_examples=50, deadline=None, database=None)
    def test_anything(self, rest: str) -> None:
        """No header makes it fall over."""
        name = file_name_in("form-data; name=content; filename" + rest)
        self.assertTrue(name is None or isinstance(name, str))


class RefusalTests(SynchronousTestCase):
    """What is not a form, or too much of one."""

    def refuses(
        self,
        body: bytes,
        content_type: str = "multipart/form-data; boundary=x",
        limits: Limits = ROOMY,
    ) -> PypidError:
        """The same refusal, whole and byte by byte."""
        whole = self.assertRaises(PypidError, read, body, content_type, limits=limits)
        pieces = self.assertRaises(
            PypidError, read, body, content_type, limits=limits, cuts=range(len(body))
        )
        self.assertEqual(type(whole), type(pieces))
        self.assertEqual(str(whole), str(pieces))
        return whole

    def test_register_of_distutils_is_read_with_bare_line_ends(self) -> None:
        """distutils' `register` ends lines with LF alone, in every version; of its form only the
        action is read.
        """
        fields = [text("name", "spam"), text(":action", "submit"), text("version", "1.0")]
        body = form_of(fields, DISTUTILS, newline=b"\n", leading=True)
        for cuts in ((), range(len(body))):
            form, _ = read(body, f"multipart/form-data; boundary={DISTUTILS}", cuts=cuts)
            self.assertEqual(form.value(":action"), "submit")

    def test_cut_off(self) -> None:
        """A form that ends too early, at any byte, is not taken for a whole one."""
        body = form_of([*BASICS, content()], "x")
        for length in range(len(body) - 4):
            with self.assertRaises(BadRequest) as caught:
                read(body[:length], "multipart/form-data; boundary=x")
            if body[:length]:
                self.assertIn("cut off", str(caught.exception))

    def test_nonsense(self) -> None:
        """Parts that are no parts are refused."""
        for part in (
            b"--x\r\n\r\nvalue\r\n--x--\r\n",
            b"--x\r\nContent-Disposition: attachment; name=a\r\n\r\nvalue\r\n--x--\r\n",
            b"--x\r\nContent-Disposition\r\n\r\nvalue\r\n--x--\r\n",
            b"--x\r\nContent-Disposition: form-data; name=a\nX: y\n\nvalue\n--x--\r\n",
            b"--xyz\r\n",
            b"--x\r\nX: " + b"y" * 10_000,
            b"--x\r\n" + b"X: y\r\n" * 100,
        ):
            self.assertIsInstance(self.refuses(part), BadRequest)

    def test_too_large_by_its_size(self) -> None:
        """A form that announces too much is refused before its first byte is read."""
        limits = Limits(content=1000, total=100, text=100)

        async def untouched() -> AsyncIterator[bytes]:
            raise AssertionError("read")
            yield b""

        class Body(Pieces):
            def __aiter__(self) -> AsyncIterator[bytes]:
                return untouched()

        for size, error in ((1201, TooLarge), (1200, AssertionError)):
            reading = read_form(
                Body((), size), "multipart/form-data; boundary=x", limits=limits, spool=Collecting()
            )
            self.failureResultOf(Deferred.fromCoroutine(reading), error)

    def test_endless_preamble_and_epilogue(self) -> None:
        """Bytes outside of the parts count too."""
        limits = Limits(content=1000, total=100, text=100)
        for body in (b"y" * 5000, form_of([], "x") + b"y" * 5000):
            self.assertIsInstance(self.refuses(body, limits=limits), TooLarge)

    def test_texts_are_bounded(self) -> None:
        """One field, all fields, their number and the attestations are bounded; the
        refusal says which.
        """
        limits = Limits(content=1000, text=50, total=120, fields=4, attestations=20)
        for parts, words in (
            ([text("description", "y" * 51)], "'description' is larger than the 50"),
            ([text("a", "y" * 50)] * 3, "larger than the 120"),
            ([text("a", "")] * 5, "more than 4 parts"),
            ([text("attestations", "y" * 21)], "'attestations'"),
        ):
            self.assertIn(words, str(self.refuses(form_of(parts, "x"), limits=limits)))

    def test_urlencoded_is_bounded(self) -> None:
        """So are urlencoded forms."""
        kind = "application/x-www-form-urlencoded"
        limits = Limits(content=1000, urlencoded=50, fields=4)
        self.assertIsInstance(self.refuses(b"a=" + b"y" * 49, kind, limits), TooLarge)
        self.assertIn("more than 4", str(self.refuses(b"a=1&b=2&c=3&d=4&e=5", kind, limits)))

    def test_at_an_edge(self) -> None:
        """It is the same whether a line came whole or the end of it is waited for."""
        disposition = b"Content-Disposition: form-data; name=content"
        for body, words in (
            (b"--x\r\n\n" + disposition + b"\r\n\r\n\r\n--x--", "end with LF"),
            (b"--x\r\n" + disposition + b"\n; filename=f\r\n\r\n\r\n--x--", "end with LF"),
            (b"Hello\n--x\r\n" + disposition + b"\r\n\r\n\r\n--x--", "end with LF"),
            (
                b"--x\r\n" + disposition + b"\r\nX: " + b"y" * 4221 + b"\r\n\r\n\r\n--x--",
                "too long headers",
            ),
        ):
            self.assertIn(words, str(self.refuses(body)))
        for body in (
            b"--x\r\n" + disposition + b"\r\nX: " + b"y" * 4220 + b"\r\n\r\n\r\n--x--",
            b"Hello --x\r\n--x\r\n" + disposition + b"\r\n\r\n\r\n--x--",
        ):
            for cuts in ([], range(len(body))):
                form, spool = read(body, "multipart/form-data; boundary=x", cuts=cuts)
                self.assertEqual((form.fields, bytes(spool.data), spool.finished), ({}, b"", True))
        self.assertEqual(
            read(b"Hello --x\r\n\r\n--x--", "multipart/form-data; boundary=x", cuts=range(20))[
                0
            ].fields,
            {},
        )

    @given(
        st.sampled_from(
            [b"", b"--x\r\n", b"--x\r\nContent-Disposition: form-data; name=content\r\n\r\n"]
        ),
        st.lists(
            st.sampled_from(
                [
                    b"--x",
                    b"\r\n",
                    b"\n",
                    b"--",
                    b"Content-Disposition: form-data; name=content",
                    b": ",
                    b"y",
                ]
            )
        ),
    )
    @settings(max_examples=60, deadline=None, database=None)
    @example(
        b"--x\r\n",
        [
            b"\n",
            b"Content-Disposition: form-data; name=content",
            b"\r\n",
            b"\r\n",
            b"\r\n",
            b"--x",
            b"--",
        ],
    )
    @example(b"", [b"y", b"--x", b"\r\n"])
    def test_soup(self, start: bytes, pieces: list[bytes]) -> None:
        """Whatever comes, the answer is a form or a refusal of ours, and byte by byte
        the same one.
        """
        body = start + b"".join(pieces)

        def outcome(cuts: Sequence[int]) -> object:
            try:
                form, spool = read(body, "multipart/form-data; boundary=x", cuts=cuts)
                return form, bytes(spool.data)
            except PypidError as error:
                return type(error), str(error)

        self.assertEqual(outcome([]), outcome(range(len(body))))
