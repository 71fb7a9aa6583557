"""The bucket that all machines share, on any S3-compatible server: `DCUBE_STORAGE=s3://bucket/prefix`.

Endpoint and credentials are read from the variables of boto3 and DVC: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION.
"""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from s3transfer.exceptions import RetriesExceededError

from dcube.errors import DcubeError
from dcube.runtime.settings import read_settings, variable_of

VARIABLE = variable_of("storage")
ADDRESS = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[\w.-]+(?:/[\w.-]+)*))?/?")
TOLERATED_SKEW_MINUTES = 5.0  # most servers refuse signatures from 15 minutes on, some from 5
CLIENT = Config(
    # A hanging connection must fail before the timeout of its callers.
    connect_timeout=5,
    read_timeout=20,
    retries={"mode": "standard", "total_max_attempts": 3},
    # Readers compare their own SHA-256, and botocore's check fails on error responses with a checksum.
    response_checksum_validation="when_required",
)
NO_RESPONSE = (EndpointConnectionError, HTTPClientError, IncompleteReadError, RetriesExceededError)


class MissingObjectError(DcubeError):
    """Raised when an object does not exist or was deleted."""


class StorageUnavailableError(DcubeError):
    """Raised when the server does not answer, is overloaded or fails; the same request may succeed later."""


@dataclass(frozen=True)
class Storage:
    """One prefix of one bucket; `named` is the name of the setting with its address, for errors."""

    bucket: str
    prefix: str
    named: str = VARIABLE

    @classmethod
    def configured(cls) -> Self | None:
        """Return the storage of `DCUBE_STORAGE`, or None if it is not set.

        Raises:
            DcubeError: if it is not the address of a bucket.
        """
        address = read_settings().storage
        return cls.at(address, VARIABLE) if address else None

    @classmethod
    def at(cls, address: str, named: str) -> Self:
        """Return the storage at an address.

        Raises:
            DcubeError: if it is not the address of a bucket.
        """
        match = ADDRESS.fullmatch(address)
        if not match or {".", ".."} & set(address.split("/")):
            raise DcubeError(f"{named}={address} names no bucket: write it as s3://bucket/prefix")
        return cls(match["bucket"], match["prefix"] or "", named)

    def key(self, *names: str) -> str:
        """Return the key of an object in the bucket: the prefix and `names`, joined by slashes."""
        return "/".join(filter(None, (self.prefix, *names)))

    def address(self, *names: str) -> str:
        return f"s3://{self.bucket}/{self.key(*names)}"

    def client(self) -> Any:
        """Return a boto3 client, without a request to the server."""
        try:
            return boto3.session.Session().client("s3", config=CLIENT)
        except (BotoCoreError, ValueError) as error:
            raise self._explain(error) from None

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn errors of boto3 inside the block into one-line errors.

        Raises:
            StorageUnavailableError: if another attempt may succeed later.
            DcubeError: if a person has to correct something.
        """
        try:
            yield
        except (BotoCoreError, ClientError, RetriesExceededError) as error:
            raise self._explain(error) from None

    def _explain(self, error: BaseException) -> DcubeError:
        if isinstance(error, ClientError):
            return self._explain_response(error)
        endpoint = read_settings().s3_endpoint
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return DcubeError(f"no S3 credentials ({reason}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        if isinstance(error, SSLError):
            return DcubeError(f"S3 at {endpoint} has no valid TLS ({reason}): correct AWS_ENDPOINT_URL")
        if isinstance(error, NO_RESPONSE):
            return StorageUnavailableError(f"S3 at {endpoint} does not answer: start it or correct AWS_ENDPOINT_URL")
        return DcubeError(f"S3 cannot be used ({reason}): correct AWS_ENDPOINT_URL (now {endpoint}) or {self.named}")

    def _explain_response(self, error: ClientError) -> DcubeError:
        code = error.response.get("Error", {}).get("Code", "")
        metadata: Any = error.response.get("ResponseMetadata", {})
        status = metadata.get("HTTPStatusCode", 0)
        place = f"{self.address()} at {read_settings().s3_endpoint}"
        if status in (400, 403) and (difference := _clock_difference(metadata)):
            return DcubeError(f"this machine's clock is {difference} that of S3 ({place}): correct it")
        match code:
            case "NoSuchBucket":
                return DcubeError(f"bucket {self.bucket} of {place} does not exist: create it or correct {self.named}")
            case "NoSuchKey":
                return MissingObjectError(f"an object of {place} was deleted since it was listed")
            case "InvalidAccessKeyId":
                return DcubeError(f"S3 does not know the access key for {place}: correct AWS_ACCESS_KEY_ID")
            case "SignatureDoesNotMatch":
                return DcubeError(f"S3 refuses the secret key for {place}: correct AWS_SECRET_ACCESS_KEY")
            case "AccessDenied" | "403":
                return DcubeError(f"S3 does not allow this key to read and write {place}: widen its policy")
        if status >= 500 or status == 429 or code in {"SlowDown", "RequestTimeout"}:
            return StorageUnavailableError(
                f"S3 reports an internal error ({code}) at {place}: look at the server's log"
            )
        return DcubeError(f"{place} is not an S3 server, or refuses the request ({code}): correct AWS_ENDPOINT_URL")


def check_storage() -> None:
    """Write, read and remove a few bytes in the bucket, if one is configured.

    Raises:
        DcubeError: if endpoint, credentials, bucket or clock are wrong.
    """
    storage = Storage.configured()
    if storage is None:
        return
    client, content = storage.client(), uuid.uuid4().hex
    where = {"Bucket": storage.bucket, "Key": storage.key(f".probe-{content}")}
    with storage.explained():
        client.put_object(**where, Body=content.encode())
        found = client.get_object(**where)["Body"].read().decode()
        client.delete_object(**where)
    if found != content:
        raise DcubeError(f"{storage.address()} returns other bytes than were written: look at the S3 server")


def _clock_difference(metadata: Any) -> str:
    """Return the clock difference as text if it is so large that S3 may refuse signatures, else empty text.

    It is read from the header, because error codes for clock skew differ: RequestTimeTooSkewed, AccessDenied or 403.
    """
    try:
        server = parsedate_to_datetime(metadata["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return ""
    minutes = (datetime.now(UTC) - server).total_seconds() / 60
    if abs(minutes) < TOLERATED_SKEW_MINUTES:
        return ""
    return f"{abs(minutes):.0f} minutes {'ahead of' if minutes > 0 else 'behind'}"
