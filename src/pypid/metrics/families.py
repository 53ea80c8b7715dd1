"""The table of all metrics: names, meanings, and labels.

docs/reference/metrics.rst, the dashboard and the alerts are checked against this table. A label
never has a value that a client or a user invents: no names of projects, files or people.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import product

from attrs import frozen


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
        "Answers, by the route as pypid spells it (none: there is no such route), method and "
        "status; those that broke off as well."
    ),
    *("route", "method", "status"),
)
REQUEST_SECONDS = _histogram(
    "pypid_http_request_seconds",
    (
        "From the beginning of a request to the end of its answer. What the fast path gives at "
        "once counts as 0."
    ),
    *("route", "method"),
    buckets=ANSWERING,
)
FAST_PATH = _counter(
    "pypid_http_front_door_answers", "Answers that the fast path gave, without any routing."
)
BROKEN_OFF = _counter(
    "pypid_http_broken_off", "Answers that had begun and did not come to their end.", "route"
)
SENT = _counter(
    "pypid_http_sent_bytes",
    "Bytes of the bodies of answers, as they were sent; without heads and TLS.",
)
RECEIVED = _counter(
    "pypid_http_received_bytes", "Bytes of the bodies of requests; without heads and TLS."
)
CONNECTIONS = _gauge("pypid_http_connections", "Connections of clients that are open.")
UNDER_WAY = _gauge("pypid_http_requests_under_way", "Requests that are not answered yet.")

# --- pages, publishing, projects ------------------------------------------------------------------

PAGES = _counter(
    "pypid_pages",
    "Pages of the Simple API that the routes gave, by whether they were kept or made anew.",
    "source",
)
STALE = _counter(
    "pypid_stale_answers",
    "Looks at what was known before, because upstream (or the shared catalog) could not be asked.",
    "because",
)
PUBLISHED = _counter(
    "pypid_publishes",
    "Uploads whose form was good, by what became of them.",
    "outcome",
    values=(("published", "overwritten", "unchanged", "refused", "failed"),),
)
PUBLISHED_BYTES = _counter("pypid_published_bytes", "Bytes of files that were published.")
CHANGES = _counter(
    "pypid_changes", "Changes of what is published, other than uploads.", "operation"
)
UPLOADS = _gauge(
    "pypid_uploads_under_way",
    "Uploads that are on their way in, or are being looked through and stored.",
)
PROJECTS = _gauge(
    "pypid_projects",
    "Projects of which files are stored: ours, and those of other indexes.",
    "whose",
    together=Aggregation.HERE,
)
COMPARED = _gauge(
    "pypid_storage_compared",
    (
        "Whether all of the storage has been compared since the start (1): only then an absence is "
        "proven."
    ),
    together=Aggregation.LEAST,
)
COMPARING_OBJECTS = _gauge(
    "pypid_storage_comparing_objects",
    "Objects that the comparison under way has seen; 0: there is none.",
)
COMPARING_PROJECTS = _gauge(
    "pypid_storage_comparing_projects", "Projects that the comparison under way has seen."
)

# --- upstream, storage, users ---------------------------------------------------------------------

UPSTREAM = _counter(
    "pypid_upstream_requests",
    "Questions to other indexes, by what was asked for and what came of it.",
    "operation",
    "outcome",
)
UPSTREAM_SECONDS = _histogram(
    "pypid_upstream_request_seconds",
    "From the question to the end of a page, or to the head of a file.",
    "operation",
    buckets=ASKING,
)
UPSTREAM_BYTES = _counter(
    "pypid_upstream_received_bytes", "Bytes of the bodies that other indexes sent."
)
UPSTREAM_UP = _gauge(
    "pypid_upstream_up",
    (
        "Whether the other index could be reached when it was asked last (1; also where it was "
        "never asked)."
    ),
    together=Aggregation.LEAST,
)
STORAGE = _counter(
    "pypid_storage_operations",
    "What was asked of the storage (the folder or the bucket), and what came of it.",
    *("operation", "outcome"),
)
STORAGE_SECONDS = _histogram(
    "pypid_storage_operation_seconds",
    (
        "How long that took; to read: until it was certain that it could be read; to list: all of "
        "it, and what was done meanwhile."
    ),
    "operation",
    buckets=ASKING,
)
STORAGE_WRITTEN = _counter("pypid_storage_written_bytes", "Bytes that were written to the storage.")
S3 = _counter(
    "pypid_s3_requests",
    (
        "Requests to S3, each try by itself, by S3's name of the operation and the status (none: "
        "no answer came)."
    ),
    *("operation", "status"),
)
S3_SECONDS = _histogram(
    "pypid_s3_request_seconds",
    "From a request to S3 to the head of its answer.",
    "operation",
    buckets=ASKING,
)
LOGINS = _counter(
    "pypid_logins",
    (
        "Credentials that were looked at, by kind, and what came of it; a refused password is "
        "outcome refused."
    ),
    *("credential", "outcome"),
    values=(
        ("password", "token", "session"),
        ("ok", "refused", "throttled", "unknown", "failed"),
    ),
)
PEOPLE = _counter(
    "pypid_people_requests",
    "Questions to a directory (ldap) or another service (remote) about people.",
    "source",
    "outcome",
)
PEOPLE_SECONDS = _histogram(
    "pypid_people_request_seconds", "How long those took.", "source", buckets=ASKING
)

PART_UP = _gauge(
    "pypid_part_up",
    (
        "Whether a part can be reached (1), as /health tells it: the accounts (access), the "
        "catalog (cache), the files (storage)."
    ),
    "part",
    together=Aggregation.LEAST,
)

# --- the shared catalog ---------------------------------------------------------------------------

NODES_DIFFER = _gauge(
    "pypid_nodes_differ",
    "Whether this node differs from another one (1) in what all have to agree on: settings, clock.",
    "kind",
    together=Aggregation.MOST,
)
CATALOG_UP = _gauge(
    "pypid_catalog_up",
    "Whether the shared catalog could be asked the last time (1), by all workers.",
    together=Aggregation.LEAST,
)
CATALOG_AGE = _gauge(
    "pypid_catalog_age_seconds",
    (
        "Since when a worker does not know any more that its copy of the shared catalog holds all; "
        "the worst of all workers."
    ),
    together=Aggregation.MOST,
)
CATALOG_LAG = _gauge(
    "pypid_catalog_lag_versions",
    "Versions of the shared catalog that a worker has heard of and does not hold yet; the worst.",
    together=Aggregation.MOST,
)
CATALOG_ROWS = _gauge(
    "pypid_catalog_rows",
    "Rows that a worker holds of the catalog.",
    "kind",
    together=Aggregation.HERE,
)

# --- the process ----------------------------------------------------------------------------------

LAG = _histogram(
    "pypid_reactor_lag_seconds",
    "How late a timer came that is due twice a second: so long everything waited.",
    buckets=LATE,
    together=Aggregation.EACH,
)
LAG_MOST = _gauge(
    "pypid_reactor_lag_max_seconds",
    "The latest that it came within the last one to two minutes.",
    together=Aggregation.EACH,
)
THREADS = _gauge("pypid_threads", "Threads for what blocks, by what they do.", "state")
THREADS_QUEUE = _gauge("pypid_threads_queue", "Calls that wait for a thread.")
THINKING_QUEUE = _gauge(
    "pypid_thinking_queue", "Long computations that wait for their turn (one is done at a time)."
)
GC = _counter("pypid_gc_collections", "Collections of Python's garbage collector.", "generation")
GC_COLLECTED = _counter("pypid_gc_collected_objects", "Objects that it took away.", "generation")
BUILD = _gauge(
    "pypid_build_info",
    "Always 1; what runs is in the labels.",
    "version",
    "python",
    together=Aggregation.HERE,
)

FAMILIES: dict[str, Family] = {family.name: family for family in TABLE}
