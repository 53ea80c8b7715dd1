"""One request and the head of its response, with a limit to every wait."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from pypid.http_client.faults import Fault, understood
from pypid.http_client.request_body import OutgoingBody, Payload


async def exchange(
    agent: IAgent,
    clock: IReactorTime,
    method: str,
    url: str,
    headers: Mapping[str, str],
    payload: Payload | None,
    patience: float,
) -> IResponse:
    """Return the response, whatever its status; its body is still to come.

    The server may be silent for `patience` seconds: take nothing of the payload, or not begin to
    answer. Raises `Fault`, and what the payload raises.
    """
    silent: list[bool] = []

    def give_up() -> None:
        silent.append(True)
        asked.cancel()

    alarm = clock.callLater(patience, give_up)

    def progress() -> None:
        if alarm.active():
            alarm.reset(patience)

    outgoing = None if payload is None else OutgoingBody(payload, progress)
    sent = Headers({name: [value] for name, value in headers.items()})
    try:
        asked = agent.request(method.encode("ascii"), url.encode("ascii"), sent, outgoing)
    except BaseException:  # not a URL
        alarm.cancel()
        raise
    try:
        response: IResponse = await asked
    except Exception as error:
        if silent:
            raise Fault(f"it did not answer within {patience:g} seconds.", timed_out=True) from None
        if outgoing is not None and outgoing.failure is not None:
            raise outgoing.failure from None
        raise understood(error) from None
    finally:
        if alarm.active():
            alarm.cancel()
    if outgoing is not None:
        outgoing.abandon()
    return response
