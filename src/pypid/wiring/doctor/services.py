"""Checks of the services in use: a running pypid, upstreams, S3, databases, directories."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from attrs import field, frozen
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.web.http_headers import Headers
from zope.interface import implementer

from pypid.catalog.engine import CatalogReset
from pypid.core.configuration.choices import CatalogStore, Mode, StorageBackend
from pypid.core.configuration.keys import UpstreamSettings
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart, PeopleUnknown, StorageDown, StorageFull
from pypid.core.presentation.block_limits import block_limits
from pypid.daemon.control import Control, ControlRequest, listens
from pypid.daemon.shared_catalog import engine_of
from pypid.daemon.state import StatePaths, control_socket
from pypid.databases.faults import DatabaseAway, DatabaseUnusable
from pypid.flow import BytesBody, World, start, whole
from pypid.http_client.connections import HttpConnections
from pypid.http_client.faults import Fault, fault_of
from pypid.http_client.trust import Trust
from pypid.ports import Blobs
from pypid.upstream import indexes
from pypid.upstream.origin import Base
from pypid.wiring.doctor.report import Area, CheckResult
from pypid.wiring.identities import sources_of
from pypid.wiring.storage import settings_of_bucket
from pypid.wiring.upstreams import authorities_of, authorities_path, sections_of, urls_of

SKEW = timedelta(seconds=30)
FAR_SKEW = timedelta(minutes=5)
"""Differences of clocks from which a result is a warning, or a problem: S3 and OIDC refuse requests
of a clock that is some minutes wrong.
"""
_CONNECTING = 5.0
_DELETING = 5.0
"""Seconds that the deletion of the object may take, also of a check that took too long."""
_PROBE = b"written by pypid doctor; it can be deleted\n"
_NO_USER = "pypid-doctor"


@frozen
class ServiceChecks:
    """Checks that use the network or the control socket."""

    config: Config
    paths: StatePaths
    world: World
    reactor: Any = field(repr=False)

    async def running(self) -> Sequence[CheckResult]:
        """Ask the pypid that runs with this configuration, if there is one."""
        area, path = Area("pypid"), control_socket(self.paths.state)
        if not await self.world.blocking(listens, path):
            return [area.ok("it is not running; the endpoints were tried instead")]
        question = ControlRequest("GET", "/api/status")
        answer = await self.world.blocking(Control(path).answers, question)
        return list(_own_report(area, answer))

    async def upstream(
        self, section: str, wanted: UpstreamSettings, url: str
    ) -> Sequence[CheckResult]:
        """Ask an upstream index for the headers of its list of projects, and compare the clocks."""
        base, area = Base.parse(url), Area("upstream")
        file = authorities_path(wanted, self.paths)
        trust = Trust(await self.world.blocking(authorities_of, file, section))
        settings = indexes.UpstreamSourceSettings([url], _CONNECTING, wanted.file_hosts)
        connections = indexes.connected(self.reactor, trust, settings)
        headers = Headers({"Accept": ["application/vnd.pypi.simple.v1+json, text/html;q=0.1"]})
        authorization = base.authorization(base.url)
        if authorization is not None:
            headers.addRawHeader("Authorization", authorization)
        try:
            response: Any = await connections.agent.request(
                b"HEAD", base.url.encode("ascii"), headers
            )
        except Exception as error:
            fault = fault_of(error)
            if not isinstance(fault, Fault):  # cancelled: it took too long
                raise fault from None
            return [
                area.problem(
                    f"{base.url}: {fault.reason}",
                    f"Check [{section}] url, DNS, the firewall and a proxy. Cached projects are "
                    "served meanwhile.",
                )
            ]
        finally:
            await connections.close()
        status = _status(area, section, base.url, response.code)
        return [status, *_clock(response.headers, self.world.now())]

    async def offline(self) -> Sequence[CheckResult]:
        """Report that no upstream index is asked."""
        return [Area("upstream").ok("none is asked: [upstream] mode = offline")]

    async def bucket(self) -> Sequence[CheckResult]:
        """Write, find, read, list and delete an object below ``.pypid/`` in the bucket."""
        from pypid.blobs.s3 import store

        area, wanted = Area("S3"), self.config.storage
        settings = await self.world.blocking(settings_of_bucket, wanted, self.paths)
        place = f"s3://{settings.bucket}/{settings.prefix}"
        try:
            blobs = await store.open(settings, self.world, self.reactor)
        except CannotStart as error:
            return [area.problem(error.reason, _advice(error.reason, settings.bucket))]
        try:
            results = [area.ok(f"{place} can be listed, and an object can be written and deleted")]
            results.extend(await probe(area, blobs, settings.bucket, self.world))
            versioned = await blobs.classes.is_versioned()
        finally:
            await blobs.close()
        if blobs.exclusive:
            results.append(area.ok("conditional writes: several nodes can share the bucket"))
        else:
            results.append(
                area.warning(
                    "the store has no conditional writes",
                    "Let one pypid alone receive uploads for this bucket.",
                )
            )
        limits = block_limits(is_bucket=True, is_versioned=versioned, cdn=wanted.cloudfront_domain)
        results.extend(area.warning(limit.text, limit.advice) for limit in limits)
        return results

    async def catalog(self) -> Sequence[CheckResult]:
        """Ask the database of a shared catalog for its state."""
        area, backend = Area("catalog"), self.config.catalog.backend.value
        engine = engine_of(self.config, self.paths, self.world, self.reactor)
        try:
            state = await engine.state()
        except CatalogReset:  # no pypid has used it yet
            return [area.ok(f"the database of the catalog ({backend}) answers, and is empty")]
        except (DatabaseAway, DatabaseUnusable) as error:
            return [
                area.problem(
                    f"the database of the catalog ({backend}) cannot be used: {error}",
                    "Check [catalog] url, and that the database runs.",
                )
            ]
        finally:
            await engine.close()
        return [area.ok(f"the database of the catalog ({backend}) answers, serial {state.serial}")]

    async def directories(self) -> Sequence[CheckResult]:
        """Look up a user who does not exist in the LDAP directory and the remote service."""
        results: list[CheckResult] = []
        opened: list[HttpConnections] = []
        sources = sources_of(self.config, self.paths, self.world, self.reactor, None, opened)
        for source in sources:
            if source.local:
                continue
            area, log = Area("directory"), _SourceLog()
            globalLogPublisher.addObserver(log)
            try:
                await source.people.find(_NO_USER)
            except PeopleUnknown as error:
                text = log.text or str(error)
                results.append(area.problem(text, "Check [ldap] or [remote]: url, bind_dn, user."))
            else:
                results.append(area.ok("the external source of users answers"))
            finally:
                globalLogPublisher.removeObserver(log)
        for connections in opened:
            await connections.close()
        return results


async def probe(area: Area, blobs: Blobs, bucket: str, world: World) -> list[CheckResult]:
    """Write, find, read and list an object in the bucket; delete it in any case."""
    key = f".pypid/doctor-{world.random(8).hex()}"
    failed: list[CheckResult] = []

    async def attempt(name: str, step: Callable[[], Awaitable[object]]) -> None:
        try:
            await step()
        except (StorageDown, StorageFull) as error:
            reason = error.__cause__ or error
            failed.append(area.problem(f"{name} fails: {reason}", _rights(bucket)))

    try:
        await attempt("PutObject", lambda: blobs.write(key, BytesBody(_PROBE)))
        await attempt("HeadObject", lambda: blobs.stat(key))
        await attempt("GetObject", lambda: _read_again(blobs, key))
        await attempt("ListBucket", lambda: _find_in_list(blobs, key))
    finally:  # also if the check takes too long, or a step fails in another way
        await attempt("DeleteObject", lambda: _delete(blobs, key, world))
    return failed or [area.ok("put, head, get, list and delete work")]


async def _read_again(blobs: Blobs, key: str) -> None:
    if await whole(await blobs.read(key), len(_PROBE)) != _PROBE:
        raise StorageDown("the object has other content than was written")


async def _find_in_list(blobs: Blobs, key: str) -> None:
    async for _ in blobs.list(key):
        return
    raise StorageDown("the object is not listed")


async def _delete(blobs: Blobs, key: str, world: World) -> None:
    try:
        await start(blobs.delete(key)).addTimeout(_DELETING, world.clock)
    except TimeoutError:
        raise StorageDown(f"no answer within {_DELETING:g} s") from None


def service_checks(checks: ServiceChecks) -> Iterator[tuple[str, Any]]:
    """Yield the checks that the configuration needs, with their names."""
    yield "pypid", checks.running
    config = checks.config
    if config.upstream.mode is Mode.OFFLINE:
        yield "upstream", checks.offline
    else:
        for section, settings in sections_of(config).items():
            for url in urls_of(settings):
                yield "upstream", partial(checks.upstream, section, settings, url)
    if config.storage.backend is StorageBackend.S3:
        yield "S3", checks.bucket
    if config.catalog.backend is not CatalogStore.MEMORY:
        yield "catalog", checks.catalog
    yield "directory", checks.directories


def _own_report(area: Area, answer: Mapping[str, Any]) -> Iterator[CheckResult]:
    """Yield what a running pypid reports of itself."""
    yield area.ok(f"pypid {answer['version']} runs at {answer['url']}")
    if answer.get("starting"):
        again = "If this lasts for more than a minute, see the log of pypid."
        yield area.warning("it is starting: its accounts are not read yet", again)
        return
    for part, name in (("access", "accounts"), ("cache", "catalog"), ("storage", "storage")):
        if not answer[part]:
            yield area.problem(f"its {name} cannot be reached", "See the log of pypid.")
    if not answer["ready"]:
        yield area.problem("it is not ready", "See the log of pypid.")
    if not answer["complete"] and "comparing" not in answer:
        text = "pypid repeats it until it is complete. If it stays so, see the log of pypid."
        yield area.warning("its scan of the storage is incomplete", text)
    if "differs" in answer:
        text = f"the nodes have different settings: {', '.join(answer['differs'])}"
        yield area.warning(text, "Give all nodes the same configuration.")


def _status(area: Area, section: str, url: str, code: int) -> CheckResult:
    if code in (401, 403, 407):
        return area.problem(
            f"{url}: status {code}", f"Correct the user and password of [{section}]."
        )
    if code == 404:
        return area.problem(
            f"{url}: status 404", f"Correct [{section}] url: it ends with /simple/."
        )
    if code >= 500:
        return area.warning(f"{url}: status {code}", "The upstream index has a fault; try again.")
    return area.ok(f"{url} answers")


def _clock(headers: Headers, now: datetime) -> Iterator[CheckResult]:
    """Compare the clock of this machine with the Date of a response."""
    area = Area("clock")
    try:
        date = parsedate_to_datetime((headers.getRawHeaders("Date") or [""])[0])
        age = timedelta(seconds=int((headers.getRawHeaders("Age") or ["0"])[0]))
    except (ValueError, TypeError):
        return
    difference = now - (date.replace(tzinfo=date.tzinfo or UTC) + age)
    seconds = round(difference.total_seconds())
    if abs(difference) < SKEW:
        yield area.ok("the clock agrees with the upstream index")
        return
    text = f"the clock is {abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} the upstream's"
    advice = "Synchronise it (NTP, timedatectl): signatures and tokens depend on the time."
    is_far = abs(difference) >= FAR_SKEW
    yield area.problem(text, advice) if is_far else area.warning(text, advice)


def _advice(reason: str, bucket: str) -> str:
    """Return what to do about a bucket that cannot be used for this reason."""
    if "NoSuchBucket" in reason:
        return "Create the bucket, or correct [storage] bucket."
    if any(code in reason for code in ("SignatureDoesNotMatch", "InvalidAccessKeyId")):
        return "Correct [storage] access_key, secret_key and region."
    if re.search(r"answered (401|403)\b", reason):
        return _rights(bucket)
    return "Check [storage] endpoint_url, region and bucket, and the network."


def _rights(bucket: str) -> str:
    return (
        f"Allow s3:PutObject, s3:GetObject, s3:DeleteObject and s3:AbortMultipartUpload on "
        f"arn:aws:s3:::{bucket}/*, and s3:ListBucket on arn:aws:s3:::{bucket}."
    )


@implementer(ILogObserver)
class _SourceLog:
    """Collects what a source of users logs about its failure."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("pypid.access"):
            self.text = formatEvent(event)
