"""The command line over a whole pypid in memory, which is asked as the control socket asks it."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import msgspec
from attrs import evolve
from twisted.internet.address import UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from pypid import cli
from pypid.access.config import Operator
from pypid.cli import request
from pypid.daemon.control import ControlRefused, ControlRequest
from pypid.web.app.app import Configured
from pypid.web.http.site import Site
from tests.distributions import wheel_filename
from tests.index.uploads import publishing, sent
from tests.web.app_with_accounts import Peopled, have
from tests.web.full_app import Connection, Pypid, basic, spelled
from tests.web.raw_http import Socket


class Local(Connection):
    """A connection over the control socket, which has no address."""

    def __init__(self, site: Site) -> None:
        self.socket = Socket(peerAddress=UNIXAddress(None))  # type: ignore[no-untyped-call]
        self.channel = site.buildProtocol(None)
        self.channel.makeConnection(self.socket)
        self.taken = 0


class CommandCase(SynchronousTestCase):
    """A pypid with an accounts database, its operator, and what the commands print."""

    configured: Configured | None = None
    accounts_log_in = True

    def setUp(self) -> None:
        self.pypid = Pypid(Path(self.mktemp()), indexes=())
        self.pypid.app.settings = evolve(self.pypid.app.settings, address="http://127.0.0.1:6543/")
        self.people = Peopled(
            self.pypid,
            Path(self.mktemp()),
            configured=self.configured,
            sql=self.accounts_log_in,
        )
        self.questions: list[ControlRequest] = []
        self.patch(request, "exchange", self.ask)

    def between(self) -> None:
        """What happens between two questions of a row."""

    def ask(self, file: Path, question: ControlRequest) -> Any:
        """What `daemon.control.Control.answers` gives."""
        answer = self.answer(question)
        while question.then is not None and (following := question.then(answer)) is not None:
            self.between()
            answer, question = self.answer(following), following
        return answer

    def answer(self, question: ControlRequest) -> Any:
        """What `daemon.control.Control.answer` gives."""
        self.questions.append(question)
        body = None if question.document is None else msgspec.json.encode(question.document)
        kind = "application/json"
        if question.form is not None:
            body, kind = b"".join(question.form.body()), question.form.content_type
        ours, self.pypid.app.access = self.pypid.app.access, Operator()
        try:
            accept = ("Accept", "application/json")
            headers = (basic("operator/root", "-"), accept, ("Content-Type", kind))
            connection = Local(self.pypid.site)
            connection.send(spelled(question.method, question.url, *headers, body=body))
            answer = connection.answer(question.method)
        finally:
            self.pypid.app.access = ours
        assert answer is not None, question
        if answer.status >= 400:
            refusal = ControlRefused(answer.json["message"], answer.status)
            if question.takes_refusal:
                return refusal
            raise refusal
        return answer.json

    def stage(self, name: str, version: str, index: str = "staging") -> None:
        """Publish a release in a named index, which is there."""
        target = self.pypid.app.indexes.get(index)
        assert target is not None
        have(publishing(target, sent(filename=wheel_filename(name, version))))

    def run_command(self, line: str, *words: str, said: str = "") -> tuple[Any, str, str]:
        """Exit status (or the text that becomes 1), standard output and standard error. `words` may
        have white space.
        """
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdin", io.StringIO(said))
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        try:
            with self.assertRaises(SystemExit) as ended:
                cli.main([*line.split(), *words])
        finally:
            self.patch(sys, "stdout", sys.__stdout__)
            self.patch(sys, "stderr", sys.__stderr__)
        return ended.exception.code, out.getvalue(), err.getvalue()

    def prints(self, line: str, *words: str, said: str = "") -> str:
        """The standard output of a command that goes well."""
        status, out, _ = self.run_command(line, *words, said=said)
        self.assertIsNone(status)
        return out


class RecordedCase(SynchronousTestCase):
    """Commands whose requests are recorded, and answered with `answer`."""

    def setUp(self) -> None:
        self.asked: list[ControlRequest] = []
        self.answer: Any = {"status": "archived", "changed": ["spam-1.0.tar.gz"]}
        self.patch(request, "exchange", self.ask)

    def ask(self, file: Path, question: ControlRequest) -> Any:
        """Be the daemon."""
        self.asked.append(question)
        if isinstance(self.answer, BaseException):
            raise self.answer
        if question.url == "/api/adopt/survey" and question.then is not None:
            following = question.then(self.answer)
            assert following is not None
            return {**self.ask(file, following), "also_upstream": []}
        return self.answer

    def run_command(self, *words: str, said: str = "") -> tuple[Any, str, str]:
        """Exit status (or the text that becomes 1), standard output and standard error."""
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdin", io.StringIO(said))
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        try:
            with self.assertRaises(SystemExit) as ended:
                cli.main(words)
        finally:
            self.patch(sys, "stdout", sys.__stdout__)
            self.patch(sys, "stderr", sys.__stderr__)
        return ended.exception.code, out.getvalue(), err.getvalue()
