"""requirements.txt: each line is wanted, or told with the reason why not."""

from unittest import SkipTest

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadRequest
from pypid.core.packaging.requirements import (
    ANOTHER_INDEX,
    CONSTRAINTS,
    ELSEWHERE,
    LARGEST,
    LONGEST,
    LONGEST_LINE,
    MOST,
    MOST_CLAUSES,
    MOST_LINES,
    NESTED,
    NO_MEANING,
    NO_OPTION,
    Remark,
    logical_lines,
    parse_requirements,
)

try:
    from pip._internal.req.req_file import preprocess
except ImportError:
    preprocess = None

SHA = "a" * 64
NEVER_FAILS = settings(max_examples=60, deadline=None, database=None)
PIECES = st.sampled_from(
    [
        "spam",
        "==1.0",
        " ",
        "\n",
        "\\\n",
        "\\",
        "#",
        " # x",
        "-r",
        "--hash=",
        "sha256:",
        SHA,
        ";",
        "'",
        '"',
        "[",
        "]",
        "/",
        "\t",
        "@",
    ]
)


class LineTests(SynchronousTestCase):
    def test_wanted(self) -> None:
        """Requirements come in their normal form, with the hashes behind them; comments and blank
        lines say nothing.
        """
        text = (
            "\ufeff# all of it\n\nSpam_Eggs [b,a]>=1 , <2 ; python_version < '3.12'  # why\n"
            f"ham==1.0 \\\n    --hash=sha256:{SHA} \\\n    --hash sha512:{'B' * 128}\nplain\n"
        )
        found = parse_requirements(text)
        self.assertEqual((found.unparseable, found.ignored, found.prereleases), ((), (), False))
        self.assertEqual(
            [(line.project, line.text) for line in found.wanted],
            [
                ("spam-eggs", 'Spam_Eggs[a,b]<2,>=1; python_version < "3.12"'),
                ("ham", "ham==1.0"),
                ("plain", "plain"),
            ],
        )
        self.assertEqual(
            found.wanted[1].hashes, frozenset({("sha256", SHA), ("sha512", "b" * 128)})
        )

    def test_refused(self) -> None:
        """What cannot be collected is told with the reason, and the other lines are read all the
        same.
        """
        for line, reason in (
            ("-r other.txt", NESTED),
            ("--requirement=other.txt", NESTED),
            ("-cother.txt", CONSTRAINTS),
            ("-e .", ELSEWHERE),
            ("./spam-1.0.tar.gz", ELSEWHERE),
            ("spam-1.0-py3-none-any.whl", ELSEWHERE),
            ("spam @ https://example.org/spam-1.0.tar.gz", ELSEWHERE),
            ("git+https://example.org/spam.git", ELSEWHERE),
            ("--nonsense", f"--nonsense: {NO_OPTION}"),
            ("spam --nonsense=1", f"--nonsense: {NO_OPTION}"),
            ("spam --hash=sha256:xyz", "--hash=sha256:xyz is not sha256:..., in hexadecimal"),
            ("s" * (LONGEST + 1), f"it is longer than {LONGEST} characters"),
        ):
            found = parse_requirements(f"{line}\nham\n")
            self.assertEqual(found.unparseable, (Remark(line, reason),), line)
            self.assertEqual([wanted.project for wanted in found.wanted], ["ham"])

    def test_ignored(self) -> None:
        """Options that mean nothing here are told and left out; --pre is heeded."""
        found = parse_requirements(
            "--pre\n-i https://x.example --trusted-host x.example\n--no-binary :all:\nspam -C a=b\n"
        )
        self.assertTrue(found.prereleases)
        self.assertEqual(
            [remark.reason for remark in found.ignored],
            [
                f"-i: {ANOTHER_INDEX}",
                f"--trusted-host: {ANOTHER_INDEX}",
                f"--no-binary: {NO_MEANING}",
                f"-C: {NO_MEANING}",
            ],
        )
        self.assertEqual((len(found.wanted), found.unparseable), (1, ()))

    def test_limits(self) -> None:
        """A file that is too large, or asks for too much, is refused whole."""
        for text in (
            "#" * (LARGEST + 1),
            "spam\n" * (MOST + 1),
            "-x\n" * (MOST_LINES + 1),
            "s" * (LONGEST_LINE + 1),
        ):
            self.assertRaises(BadRequest, parse_requirements, text)
        self.assertRaises(BadRequest, parse_requirements, "#" * LARGEST, "#")
        clauses = ",".join(f"!={number}" for number in range(MOST_CLAUSES + 1))
        self.assertIn("clauses", parse_requirements(f"spam{clauses}").unparseable[0].reason)


class AnyTextTests(SynchronousTestCase):
    @NEVER_FAILS
    @given(st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=30).map("".join)))
    def test_each_line_is_told(self, text: str) -> None:
        """Whatever comes, each line that says something is wanted, unparseable or ignored: none is
        lost, and none raises.
        """
        found = parse_requirements(text)
        told = {wanted.line for wanted in found.wanted} | {
            remark.line for remark in (*found.unparseable, *found.ignored)
        }
        self.assertEqual(told | {"--pre"}, set(logical_lines(text)) | {"--pre"})
        for wanted in found.wanted:
            [again] = parse_requirements(wanted.text).wanted
            self.assertEqual((again.text, again.project), (wanted.text, wanted.project))

    @NEVER_FAILS
    @given(st.lists(PIECES, max_size=30).map("".join))
    def test_as_pip(self, text: str) -> None:
        """pip takes a file apart into the same lines."""
        if preprocess is None:
            raise SkipTest("pip is not installed here")
        self.assertEqual(list(logical_lines(text)), [line for _, line in preprocess(text)])
