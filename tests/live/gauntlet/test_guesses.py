"""Guesses of passwords from many addresses, while their users are active, as a kind of the
gauntlet.
"""

from __future__ import annotations

import http.client
import random
import threading
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import ask, basic
from tests.live.daemon import LiveIndex, Settings, pypid
from tests.live.gauntlet.tally import FULL, Tally
from tests.live.processes import scratch

USERS: Final = 10 if FULL else 2
GUESSES: Final = 10_000 if FULL else 300
"""For each user, each from another address; the right password is among the later half."""
LOGINS_EVERY: Final = 50
"""Guesses between two logins of the user."""
SETTINGS: Final = Settings(
    read="authenticated", access="backend = config sql", server="trusted_proxies = 127.0.0.1"
)


class Attack:
    """Guesses of one user's password, over one connection of a proxy."""

    def __init__(self, index: LiveIndex, number: int, password: str) -> None:
        self.number = number
        self.user = f"user-{number}"
        self.password = password
        self.found = False
        self.refused: list[int] = []
        self.unexpected: set[int] = set()
        self.connection = http.client.HTTPConnection("127.0.0.1", index.port, timeout=60)

    def log_in(self, address: str, password: str) -> int:
        """The status of a request from that address."""
        headers = {**basic(self.user, password), "X-Forwarded-For": address}
        self.connection.request("GET", "/simple/", headers=headers)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status

    def run(self) -> None:
        """All guesses, with the logins of the user between them."""
        own = f"198.51.100.{self.number + 1}"
        right = random.randrange(GUESSES // 2, GUESSES)
        for guess in range(GUESSES):
            if guess % LOGINS_EVERY == 0 and (status := self.log_in(own, self.password)) != 200:
                self.refused.append(status)
            address = f"10.{self.number}.{guess >> 8}.{guess & 255}"
            status = self.log_in(address, self.password if guess == right else f"guess-{guess}")
            self.found = self.found or status == 200
            self.unexpected |= {status} - {200, 401, 429, 503}
        self.connection.close()

    def problems(self) -> list[str]:
        """What is wrong afterwards."""
        found = ["the password was found"] if self.found else []
        found += [f"{len(self.refused)} right logins were refused"] if self.refused else []
        return found + ([f"answers {self.unexpected}"] if self.unexpected else [])


class GuessTests(SynchronousTestCase):
    """Users who are active at their own addresses, and 10,000 other addresses."""

    def test_no_password_is_found_and_no_user_refused(self) -> None:
        """Each attack is a trial: its password stays unknown, its user gets in from the usual
        address, and the log has one line.
        """
        tally = Tally("guesses of passwords")
        with scratch() as folder, pypid(folder, SETTINGS) as index:
            attacks = []
            for number in range(USERS):
                wanted = {"name": f"user-{number}"}
                made = ask(index.port, "/api/users", basic("admin"), method="POST", document=wanted)
                attacks.append(Attack(index, number, made.json["password"]))
            threads = [threading.Thread(target=attack.run) for attack in attacks]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for attack in attacks:
                tally.trial(attack.user, *attack.problems())
            lines = index.log().count("many wrong passwords")
            found = [] if lines == USERS else [f"{lines} for {USERS} attacks"]
            tally.trial("lines in the log", *found)
        tally.close()
