"""Connections to public addresses only: `pypid.http_client.connections`."""

# trial's assertions and Twisted's reactors are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pypid.http_client.connections import NotPublic, PublicOnly, fault_of, is_public

PUBLIC = ("93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "::ffff:93.184.216.34")
NOT_PUBLIC = (
    *(
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
    ),
    *(
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "192.0.0.1",
        "192.88.99.1",
        "198.18.0.1",
        "203.0.113.1",
    ),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *(
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:a9fe:a9fe",
        "fe80::1",
        "fe80::1%eth0",
    ),
    *(
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
    ),
    *("2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1", "localhost", "", "127.1", "2130706433"),
)


class AddressTests(SynchronousTestCase):
    """Which addresses are public."""

    def test_public_addresses_pass(self) -> None:
        """Addresses of the internet may be connected to."""
        for address in PUBLIC:
            self.assertTrue(is_public(address), address)

    def test_other_addresses_are_refused(self) -> None:
        """Loopback, link-local, private, shared, multicast, reserved and mapped addresses are not
        public, nor are names.
        """
        for address in NOT_PUBLIC:
            self.assertFalse(is_public(address), address)


@implementer(IReactorPluggableNameResolver)
class _Network(MemoryReactorClock):  # type: ignore[misc]
    """A reactor whose name server answers each question with the next addresses of a list."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        super().__init__()
        self.answers = list(answers)
        self.nameResolver = self

    def resolveHostName(self, receiver: Any, host: str, port: int = 0, *_: Any, **__: Any) -> Any:
        """Give the next answer."""
        receiver.resolutionBegan(None)
        for address in self.answers.pop(0):
            receiver.addressResolved(IPv4Address("TCP", address, port))
        receiver.resolutionComplete()


class ConnectionTests(SynchronousTestCase):
    """Where an endpoint connects to."""

    def connected(self, network: _Network, host: str) -> list[str]:
        """The addresses that are tried for a host."""
        del network.tcpClients[:]
        tried = HostnameEndpoint(PublicOnly(network), host, 80).connect(
            Factory.forProtocol(Protocol)
        )
        network.pump([0.5] * 4)
        tried.addErrback(lambda failure: self.refusals.append(fault_of(failure.value)))
        return [client[0] for client in network.tcpClients]

    def setUp(self) -> None:
        super().setUp()
        self.refusals: list[Exception] = []

    def test_name_of_a_private_address_is_refused(self) -> None:
        """The address counts that a name has, and the reason is recognised."""
        self.assertEqual(self.connected(_Network(("127.0.0.1",)), "public.example"), [])
        self.assertIsInstance(self.refusals[0], NotPublic)

    def test_dns_rebinding_is_refused(self) -> None:
        """A name that was public a moment ago is not connected to at its new address."""
        network = _Network(("93.184.216.34",), ("127.0.0.1",))
        self.assertEqual(self.connected(network, "rebinding.example"), ["93.184.216.34"])
        self.assertEqual(self.connected(network, "rebinding.example"), [])

    def test_public_ones_of_several_addresses_are_tried(self) -> None:
        """Of a host with several addresses the public ones are tried, no others."""
        network = _Network(("10.0.0.1", "93.184.216.34", "169.254.169.254"))
        self.assertEqual(self.connected(network, "both.example"), ["93.184.216.34"])
