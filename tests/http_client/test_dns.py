"""Hosts are looked up once for all who connect."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pypid.http_client.connections import LASTING, HostResolver, resolving_once

HERE = IPv4Address("TCP", "192.0.2.1", 443)


@define(eq=False)
class Names:
    """A resolver that answers when it is told to."""

    asked: list[tuple[str, int]] = field(factory=list)
    receivers: list[IResolutionReceiver] = field(factory=list)

    def resolveHostName(
        self, receiver, hostName, portNumber=0, addressTypes=None, transportSemantics="TCP"
    ):
        self.asked.append((hostName, portNumber))
        self.receivers.append(receiver)

    def answer(self, *addresses: IAddress) -> None:
        receiver = self.receivers.pop(0)
        for address in addresses:
            receiver.addressResolved(address)
        receiver.resolutionComplete()


@define(eq=False)
class Heard:
    """Who connects. `failing`: something is wrong with it."""

    failing: bool = False
    name: str = ""
    addresses: list[IAddress] = field(factory=list)
    complete: bool = False

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        self.name = resolution.name

    def addressResolved(self, address: IAddress) -> None:
        if self.failing:
            raise RuntimeError("failing")
        self.addresses.append(address)

    def resolutionComplete(self) -> None:
        self.complete = True


class ResolverTests(SynchronousTestCase):
    """`HostResolver`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.names = Names()
        self.resolver = HostResolver(self.names, self.clock)

    def ask(self, host: str = "index.example", *, failing: bool = False) -> Heard:
        heard = Heard(failing)
        self.assertEqual(self.resolver.resolveHostName(heard, host, 443).name, host)
        self.assertEqual(heard.name, host)
        return heard

    def test_at_once(self) -> None:
        """Fifty who ask in the same moment are one question; each hears the answer."""
        all_of_them = [self.ask() for _ in range(50)]
        self.assertEqual(self.names.asked, [("index.example", 443)])
        self.assertFalse(any(heard.complete for heard in all_of_them))
        self.names.answer(HERE)
        self.assertTrue(all(heard.complete and heard.addresses == [HERE] for heard in all_of_them))

    def test_other_hosts(self) -> None:
        """Another host is another question, and hears its own answer."""
        one, other = self.ask(), self.ask("files.example")
        self.names.answer(HERE)
        self.assertEqual((one.complete, other.complete), (True, False))

    def test_later(self) -> None:
        """An answer is good for half a minute, then it is asked for again."""
        self.ask()
        self.names.answer(HERE)
        self.clock.advance(LASTING - 1)
        self.assertEqual(self.ask().addresses, [HERE])
        self.clock.advance(1)
        self.assertFalse(self.ask().complete)
        self.assertEqual(len(self.names.asked), 2)

    def test_no_address(self) -> None:
        """That there is none is told to all who wait, and the next one asks again."""
        heard = [self.ask(), self.ask()]
        self.names.answer()
        self.assertEqual(
            [(each.complete, each.addresses) for each in heard], [(True, []), (True, [])]
        )
        self.assertFalse(self.ask().complete)
        self.assertEqual(len(self.names.asked), 2)

    def test_failing(self) -> None:
        """One whose connection fails at once does not keep the others from theirs."""
        self.ask(failing=True)
        heard = self.ask()
        self.names.answer(HERE)
        self.assertTrue(heard.complete)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class ReactorTests(SynchronousTestCase):
    """`resolving_once`."""

    def test_reactor(self) -> None:
        """It is the reactor in all but its resolver; one that has none stays what it is."""

        @implementer(IReactorPluggableNameResolver)
        class Pluggable(Clock):
            nameResolver = Names()

            def installNameResolver(self, resolver):
                pass

        reactor = Pluggable()
        made = resolving_once(reactor)
        verifyObject(IReactorPluggableNameResolver, made)
        reactor.advance(7)
        self.assertEqual(made.seconds(), 7)
        self.assertIsInstance(made.nameResolver, HostResolver)
        self.assertIs(made.nameResolver.inner, reactor.nameResolver)
        plain = Clock()
        self.assertIs(resolving_once(plain), plain)
