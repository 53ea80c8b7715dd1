"""The URLs of keys: endpoints by region, and the two ways to address a bucket. The rules are
botocore's.
"""

# botocore is not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from attrs import frozen
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader

from pypid.core.configuration.bucket_names import is_bucket_name, is_region_name
from pypid.core.configuration.choices import Addressing
from pypid.core.errors import CannotStart

Query = Sequence[tuple[str, str]]


@frozen
class Address:
    """The address of the bucket. `base` has no trailing slash; `region` is the one that signatures
    name.
    """

    base: str
    region: str

    @property
    def host(self) -> str:
        """The value of the ``Host`` header: without the scheme's default port."""
        return host(self.base)

    def url(self, key: str = "", query: Query = ()) -> str:
        """Return the URL of the key, or of the bucket itself. Everything but letters, digits and
        ``-._~/`` is percent-encoded.
        """
        query_string = queried(sorted(query))
        return f"{self.base}/{quoted(key)}" + (f"?{query_string}" if query_string else "")


def host(url: str) -> str:
    """Return the value of the ``Host`` header, as it is signed."""
    split = urlsplit(url)
    own = {"http": ":80", "https": ":443"}[split.scheme]
    return split.netloc.rpartition("@")[2].lower().removesuffix(own)


def queried(query: Iterable[tuple[str, str]]) -> str:
    """Return the query string as it is signed."""
    return "&".join(
        [f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query]
    )


def quoted(key: str) -> str:
    """Return the key as a URL path, exactly as it is signed."""
    return quote(key, safe="/~")


def check(bucket: str, region: str) -> None:
    """Raise `CannotStart` for invalid names of buckets or regions."""
    if not is_bucket_name(bucket):
        raise CannotStart(f"[storage] bucket: {bucket!r} cannot be a bucket's name.")
    if not is_region_name(region):
        raise CannotStart(f"[storage] region: {region!r} cannot be a region.")
    if bucket.endswith("--x-s3"):
        raise CannotStart(
            "[storage] bucket: directory buckets (S3 Express) do not list in order, which pypid "
            "needs."
        )


def resolve(bucket: str, region: str, endpoint_url: str | None, addressing: Addressing) -> Address:
    """Return the address of the bucket. Raises `CannotStart` if there can be none; blocks."""
    check(bucket, region)
    path = addressing is Addressing.PATH or (
        addressing is Addressing.AUTO and endpoint_url is not None
    )
    loader = Loader(include_default_search_paths=True)
    provider = EndpointProvider(
        loader.load_service_model("s3", "endpoint-rule-set-1"), loader.load_data("partitions")
    )
    wanted = {"Bucket": bucket, "Region": region, "ForcePathStyle": path}
    known = {
        "UseFIPS": False,
        "UseDualStack": False,
        "Accelerate": False,
        "UseGlobalEndpoint": False,
    }
    if endpoint_url is not None:
        wanted["Endpoint"] = endpoint_url.rstrip("/")
    try:
        found = provider.resolve_endpoint(**wanted, **known)
    except BotoCoreError as error:
        raise CannotStart(
            f"[storage] bucket, region and endpoint_url lead nowhere: {error}"
        ) from None
    schemes: Sequence[Any] = (found.properties or {}).get("authSchemes") or ({},)
    return Address(found.url.rstrip("/"), schemes[0].get("signingRegion", region))
