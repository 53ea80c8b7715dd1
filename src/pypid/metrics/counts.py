"""Counters, as cheap as Python allows: one dictionary look-up for each number."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import product

import msgspec
from attrs import frozen

# The table of all metrics: names, meanings, and labels.
#
# docs/reference/metrics.rst, the dashboard and the alerts are checked against this table. A label
# never has a value that a client or a user invents: no names of projects, files or people.


class MetricKind(Enum):
    """The type of a metric in Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Aggregation(Enum):
    """How the numbers of several workers are combined."""

    SUM = "sum"
    LEAST = "least"
    MOST = "most"
    EACH = "each"
    """Kept apart, with a label ``worker``."""
    HERE = "here"
    """All workers know the same: the one that answers reports it."""


@frozen(eq=False)
class Family:
    """One metric. A counter's name is without the ``_total`` that its samples have; `buckets`:
    upper bounds.
    """

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    together: Aggregation = Aggregation.SUM
    values: tuple[tuple[str, ...], ...] = ()
    """All values of each label, of a counter that an alert uses."""

    @property
    def initial(self) -> Iterator[tuple[str, ...]]:
        """Yield the labels of the series that exist from the start, at zero.

        Prometheus' ``increase()`` misses the first count of a series that begins with it.
        """
        if self.kind is MetricKind.COUNTER and (self.values or not self.labels):
            yield from product(*self.values)

    @property
    def shown(self) -> str:
        """The name in a query; for a histogram, the prefix of its samples."""
        return f"{self.name}_total" if self.kind is MetricKind.COUNTER else self.name

    @property
    def shown_labels(self) -> tuple[str, ...]:
        """All labels of its samples, except a histogram's ``le``."""
        return ("worker", *self.labels) if self.together is Aggregation.EACH else self.labels


ANSWERING = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
"""Bucket bounds of responses, in seconds. The fast path takes some hundredths of the first."""
ASKING = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bucket bounds of network and disk operations, in seconds."""
LATE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

TABLE: list[Family] = []
"""All families, in the order in which they are shown."""


def _family(family: Family) -> Family:
    TABLE.append(family)
    return family


def _counter(
    name: str, help: str, *labels: str, values: tuple[tuple[str, ...], ...] = ()
) -> Family:
    return _family(Family(name, MetricKind.COUNTER, help, labels, values=values))


def _gauge(name: str, help: str, *labels: str, together: Aggregation = Aggregation.SUM) -> Family:
    return _family(Family(name, MetricKind.GAUGE, help, labels, together=together))


def _histogram(
    name: str,
    help: str,
    *labels: str,
    buckets: tuple[float, ...],
    together: Aggregation = Aggregation.SUM,
) -> Family:
    return _family(Family(name, MetricKind.HISTOGRAM, help, labels, buckets, together))


# --- HTTP -----------------------------------------------------------------------------------------

REQUESTS = _counter(
    "pypid_http_requests",
    (
        "Responses by route (as pypid spells it; none: no such route), method and status, "
        "including incomplete ones."
    ),
    *("route", "method", "status"),
)
REQUEST_SECONDS = _histogram(
    "pypid_http_request_seconds",
    (
        "Time from the start of a request to the end of its response. Responses of the fast "
        "path count as 0."
    ),
    *("route", "method"),
    buckets=ANSWERING,
)
FAST_PATH = _counter("pypid_http_front_door_answers", "Responses of the fast path.")
BROKEN_OFF = _counter(
    "pypid_http_broken_off", "Responses that began and did not complete.", "route"
)
SENT = _counter(
    "pypid_http_sent_bytes",
    "Bytes of response bodies, as sent; without headers and TLS.",
)
RECEIVED = _counter(
    "pypid_http_received_bytes", "Bytes of request bodies; without headers and TLS."
)
CONNECTIONS = _gauge("pypid_http_connections", "Open connections of clients.")
UNDER_WAY = _gauge("pypid_http_requests_under_way", "Requests in progress.")

# --- pages, publishing, projects ------------------------------------------------------------------

DERIVED = _counter(
    "pypid_derived_values",
    (
        "Values from the caches in memory (pages, lists, views), by cache and by source: kept, "
        "made, or shared with another request that was making it."
    ),
    "cache",
    "source",
)
WITHHELD = _counter(
    "pypid_withheld_requests",
    "Requests for files that are withheld, by reason: blocked, reported (malware), waiting, "
    "denied, held, quarantined.",
    "because",
)
STALE = _counter(
    "pypid_stale_answers",
    "Reads of known data because the upstream (or the shared catalog) was unavailable.",
    "because",
)
PUBLISHED = _counter(
    "pypid_publishes",
    "Uploads with a valid form, by outcome.",
    "outcome",
    values=(("published", "overwritten", "unchanged", "refused", "failed"),),
)
PUBLISHED_BYTES = _counter("pypid_published_bytes", "Bytes of published files.")
PROMOTIONS = _counter(
    "pypid_promotions",
    "Promotions from one index to another, by outcome.",
    "outcome",
    values=(("promoted", "unchanged", "refused", "failed"),),
)
CHANGES = _counter(
    "pypid_changes", "Changes of published projects, other than uploads.", "operation"
)
UPLOADS = _gauge(
    "pypid_uploads_under_way",
    "Uploads that are being received, checked or stored.",
)
PROJECTS = _gauge(
    "pypid_projects",
    "Projects with stored files: local projects, and projects with cached files.",
    "whose",
    together=Aggregation.HERE,
)
INDEXES = _gauge(
    "pypid_named_indexes",
    "Named indexes.",
    together=Aggregation.HERE,
)
INDEX_FILES = _gauge(
    "pypid_named_index_files",
    (
        "Local files of each named index. Absent if [server] metrics is "
        "everyone or authenticated, since the names of indexes are private."
    ),
    "index",
    together=Aggregation.HERE,
)
INDEX_BYTES = _gauge(
    "pypid_named_index_bytes",
    "Size of the local files of each named index, as above.",
    "index",
    together=Aggregation.HERE,
)
WAITING_PROJECTS = _gauge(
    "pypid_waiting_projects",
    "Upstream projects that were requested and wait for approval ([upstream] new_projects).",
    together=Aggregation.HERE,
)
COMPARED = _gauge(
    "pypid_storage_compared",
    (
        "Whether the whole storage was compared since the start (1). Only then pypid knows "
        "that a project does not exist."
    ),
    together=Aggregation.LEAST,
)
COMPARING_OBJECTS = _gauge(
    "pypid_storage_comparing_objects",
    "Objects that the running comparison has listed; 0: none runs.",
)
COMPARING_PROJECTS = _gauge(
    "pypid_storage_comparing_projects", "Projects that the running comparison has read."
)

# --- upstream, storage, users ---------------------------------------------------------------------

UPSTREAM = _counter(
    "pypid_upstream_requests",
    "Requests to upstream indexes, by operation and outcome.",
    "operation",
    "outcome",
)
UPSTREAM_SECONDS = _histogram(
    "pypid_upstream_request_seconds",
    "Time from a request to the end of a page, or to the head of a file.",
    "operation",
    buckets=ASKING,
)
UPSTREAM_BYTES = _counter(
    "pypid_upstream_received_bytes", "Bytes of the bodies that upstream indexes sent."
)
UPSTREAM_UP = _gauge(
    "pypid_upstream_up",
    ("Whether the upstream was reachable at the last request (1; also if there was none)."),
    together=Aggregation.LEAST,
)
NAMED_UPSTREAM_UP = _gauge(
    "pypid_named_upstream_up",
    "Whether each ``[upstream:<name>]`` was reachable at the last request (1; also if none).",
    "upstream",
    together=Aggregation.LEAST,
)
STORAGE = _counter(
    "pypid_storage_operations",
    "Operations on the storage (folder or bucket), by outcome.",
    *("operation", "outcome"),
)
STORAGE_SECONDS = _histogram(
    "pypid_storage_operation_seconds",
    (
        "Duration of operations on the storage. Reading counts until the first bytes; listing "
        "counts everything."
    ),
    "operation",
    buckets=ASKING,
)
STORAGE_WRITTEN = _counter("pypid_storage_written_bytes", "Bytes written to the storage.")
S3 = _counter(
    "pypid_s3_requests",
    (
        "Requests to S3, retries included, by S3's name of the operation and status (none: no "
        "response)."
    ),
    *("operation", "status"),
)
S3_SECONDS = _histogram(
    "pypid_s3_request_seconds",
    "Time from a request to S3 to the head of its response.",
    "operation",
    buckets=ASKING,
)
LOGINS = _counter(
    "pypid_logins",
    ("Verified credentials, by kind and outcome; a wrong password has the outcome refused."),
    *("credential", "outcome"),
    values=(
        ("password", "token", "session"),
        ("ok", "refused", "throttled", "unknown", "failed"),
    ),
)
PEOPLE = _counter(
    "pypid_people_requests",
    "Requests for users to a directory (ldap).",
    "source",
    "outcome",
)
PEOPLE_SECONDS = _histogram(
    "pypid_people_request_seconds", "Duration of requests for users.", "source", buckets=ASKING
)

PART_UP = _gauge(
    "pypid_part_up",
    (
        "Whether a part is available (1), as in /health: accounts (access), catalog (cache), "
        "files (storage)."
    ),
    "part",
    together=Aggregation.LEAST,
)

# --- the shared catalog ---------------------------------------------------------------------------

NODES_DIFFER = _gauge(
    "pypid_nodes_differ",
    "Whether this node differs from another one (1) in settings or clock.",
    "kind",
    together=Aggregation.MOST,
)
CATALOG_UP = _gauge(
    "pypid_catalog_up",
    "Whether the shared catalog was available at the last request (1), in all workers.",
    together=Aggregation.LEAST,
)
CATALOG_AGE = _gauge(
    "pypid_catalog_age_seconds",
    (
        "How long a worker has not known whether its copy of the shared catalog is complete; "
        "the largest value of all workers."
    ),
    together=Aggregation.MOST,
)
TRUST = _counter(
    "pypid_trust_doubted_files",
    "Upstream files without the expected publisher that were reported, by what happens to them.",
    "outcome",
)
LISTINGS_MEMORY = _gauge(
    "pypid_upstream_memory_bytes",
    "Memory for upstream listings, views and finished pages: at most [upstream] memory.",
)

# --- advisories -----------------------------------------------------------------------------------

ADVISORIES = _gauge(
    "pypid_advisories",
    "Advisories that are known; 0 without `[advisories]`.",
    together=Aggregation.HERE,
)
ADVISORIES_LOADED = _gauge(
    "pypid_advisories_loaded_timestamp_seconds",
    "When the sources of advisories were last read without an error, in seconds since 1970; 0 if "
    "they never were.",
    together=Aggregation.HERE,
)
ADVISORY_FAILURES = _counter(
    "pypid_advisory_refresh_failures", "Reads of a source of advisories that failed."
)
ADVISORIES_SKIPPED = _counter(
    "pypid_advisories_skipped", "Documents of the sources that could not be read as advisories."
)

# --- the process ----------------------------------------------------------------------------------

LAG = _histogram(
    "pypid_reactor_lag_seconds",
    ("Delay of a timer that is due twice a second: the event loop was blocked for that time."),
    buckets=LATE,
    together=Aggregation.EACH,
)
LAST_BACKUP = _gauge(
    "pypid_last_backup_timestamp_seconds",
    "When `pypid backup` was last run, in seconds since 1970; 0 if it never was.",
    together=Aggregation.HERE,
)
LAG_MOST = _gauge(
    "pypid_reactor_lag_max_seconds",
    "The longest delay within the last one to two minutes.",
    together=Aggregation.EACH,
)
THREADS = _gauge("pypid_threads", "Threads for blocking calls, by state.", "state")
THREADS_QUEUE = _gauge("pypid_threads_queue", "Calls that wait for a thread.")
BUILD = _gauge(
    "pypid_build_info",
    "Always 1; the labels have the versions.",
    "version",
    "python",
    together=Aggregation.HERE,
)

FAMILIES: dict[str, Family] = {family.name: family for family in TABLE}


Labels = tuple[str, ...]
"""The values of a family's labels, in its order."""


class MetricsSample(msgspec.Struct, array_like=True, frozen=True):
    """All numbers of one process at one time, by the name of the family.

    A histogram is the count of each of its buckets (not cumulative), of what is above all, and the
    sum.
    """

    numbers: dict[str, list[tuple[Labels, float]]] = {}
    histograms: dict[str, list[tuple[Labels, list[float]]]] = {}


class Counts:
    """The numbers of one process."""

    __slots__ = ("_histograms", "_numbers", "before")

    def __init__(self) -> None:
        self._numbers: defaultdict[Family, dict[Labels, float]] = defaultdict(dict)
        self._histograms: defaultdict[Family, dict[Labels, list[float]]] = defaultdict(dict)
        for family in TABLE:
            for labels in family.initial:
                self._numbers[family][labels] = 0
        self.before: list[Callable[[], object]] = []
        """Callbacks that are called before the numbers are read, for what counts in batches, or has
        something to `set`.
        """

    def add(self, family: Family, labels: Labels = (), amount: float = 1) -> None:
        """Increase a number."""
        values = self._numbers[family]
        values[labels] = values.get(labels, 0) + amount

    def set(self, family: Family, labels: Labels, value: float) -> None:
        """Set a number."""
        self._numbers[family][labels] = float(value)  # a bool is not a number in JSON

    def reset(self, family: Family) -> None:
        """Remove all numbers of a family whose labels may disappear."""
        self._numbers[family].clear()

    def observe(self, family: Family, labels: Labels, value: float, times: int = 1) -> None:
        """Record an observation of a histogram, once or `times` times."""
        counted = self._histograms[family].get(labels)
        if counted is None:
            counted = self._histograms[family][labels] = [0] * (len(family.buckets) + 2)
        counted[bisect_left(family.buckets, value)] += times
        counted[-1] += value * times

    def value(self, family: Family, labels: Labels = ()) -> float:
        """Return a number; for a histogram, the number of observations."""
        if family.kind is MetricKind.HISTOGRAM:
            return sum(self._histograms[family].get(labels, [0, 0])[:-1])
        return self._numbers[family].get(labels, 0)

    def taken(self) -> MetricsSample:
        """Return all current numbers."""
        for each in self.before:
            each()
        histograms = {
            family.name: [(labels, counted.copy()) for labels, counted in values.items()]
            for family, values in self._histograms.items()
        }
        return MetricsSample(
            {family.name: list(values.items()) for family, values in self._numbers.items()},
            histograms,
        )


def is_whole(taken: MetricsSample) -> bool:
    """Return whether everything has as many labels and buckets as its family has (unknown families
    are ignored).
    """
    for name, values in taken.numbers.items():
        if (family := FAMILIES.get(name)) and any(
            len(labels) != len(family.labels) for labels, _ in values
        ):
            return False
    for name, histogram in taken.histograms.items():
        family, size = (
            FAMILIES.get(name),
            len(FAMILIES[name].buckets) + 2 if name in FAMILIES else 0,
        )
        if family and any(
            len(labels) != len(family.labels) or len(counted) != size
            for labels, counted in histogram
        ):
            return False
    return True


def lasting(taken: MetricsSample) -> MetricsSample:
    """Return what remains valid after the process has ended: all but the gauges, and what is shown
    for each worker.
    """
    kept = {
        name: values
        for name, values in taken.numbers.items()
        if name in FAMILIES and FAMILIES[name].kind is MetricKind.COUNTER
    }
    histograms = {
        name: values
        for name, values in taken.histograms.items()
        if name in FAMILIES and FAMILIES[name].together is not Aggregation.EACH
    }
    return MetricsSample(kept, histograms)


def summed(first: MetricsSample, second: MetricsSample) -> MetricsSample:
    """Return the lasting metrics of two processes, added."""
    numbers = {name: dict(values) for name, values in first.numbers.items()}
    for name, values in second.numbers.items():
        into = numbers.setdefault(name, {})
        for labels, value in values:
            into[labels] = into.get(labels, 0) + value
    histograms = {name: dict(values) for name, values in first.histograms.items()}
    for name, histogram in second.histograms.items():
        onto = histograms.setdefault(name, {})
        for labels, counted in histogram:
            onto[labels] = (
                [a + b for a, b in zip(onto[labels], counted, strict=True)]
                if labels in onto
                else counted
            )
    return MetricsSample(
        {name: list(values.items()) for name, values in numbers.items()},
        {name: list(values.items()) for name, values in histograms.items()},
    )
