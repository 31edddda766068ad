"""The object store (MinIO, S3) behind a dozen verbs. Bytes in, bytes out; the libraries' errors become ours.

Reads go through `s3_reading`. boto3 does everything else, and is imported at the first call that needs it: importing it
takes longer than all of `switchyard live`.

Conditional writes are PutObject with If-None-Match or If-Match. Never build a lock on a conditional copy or delete:
MinIO ignores those conditions silently.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from mlflow_project.adapters.connections import FAILURES, cause
from mlflow_project.adapters.s3_reading import S3Reader, S3Refused
from mlflow_project.errors import ConfigError, InvalidData, NotFound, Unavailable, WorkspaceError
from mlflow_project.settings import StoreSettings

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

LOCK_DAYS = 365
_MISSING = {"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "404"}
_FORBIDDEN = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "403"}
_CONDITION_FAILED = {"PreconditionFailed", "412", "ConditionalRequestConflict"}


@dataclass(frozen=True)
class StoredObject:
    """One listed object, or one version of it. `deleted` is true for a delete marker."""

    key: str
    size: int
    etag: str
    version_id: str | None = None
    latest: bool = True
    deleted: bool = False
    modified: float = 0.0


class ObjectStore:
    """All calls may raise `Unavailable` (no answer, or the store's own error); reads raise `NotFound`."""

    def __init__(self, settings: StoreSettings, *, connect_timeout: float = 2.0, read_timeout: float = 20.0) -> None:
        self.settings = settings
        self._timeouts = (connect_timeout, read_timeout)
        self._reader = S3Reader(settings, connect_timeout, read_timeout)
        self._seconds_ahead = 0.0

    @cached_property
    def _client(self) -> Any:
        """boto3's client, made at the first call that needs it."""
        import boto3
        from botocore.config import Config

        settings, (connect_timeout, read_timeout) = self.settings, self._timeouts
        client = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint,
            region_name=settings.s3_region,
            aws_access_key_id=settings.s3_access_key.get_secret_value(),
            aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                retries={"max_attempts": 2, "mode": "standard"},
                max_pool_connections=32,
            ),
        )
        client.meta.events.register("after-call.s3", self._note_clock)
        return client

    @property
    def seconds_ahead(self) -> float:
        """How far the store's clock is ahead of this machine's, by the store's newest answer; 0.0 before the first."""
        return self._seconds_ahead

    def get(self, bucket: str, key: str, version_id: str | None = None) -> bytes:
        """The object's bytes."""
        return self.get_with_etag(bucket, key, version_id)[0]

    def get_with_etag(self, bucket: str, key: str, version_id: str | None = None) -> tuple[bytes, str]:
        """The object's bytes, and the etag that `replace` wants."""
        response = self._read("GET", bucket, key, {"versionId": version_id} if version_id else {})
        return response.data, response.headers.get("ETag", "")

    def exists(self, bucket: str, key: str) -> bool:
        """Whether there is such an object: one small request. A delete marker counts as none."""
        try:
            self._read("HEAD", bucket, key)
        except NotFound:
            return False
        return True

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "application/octet-stream") -> str:
        """Write, whatever is there. Returns the etag."""
        with self._translated(bucket, key):
            return str(self._client.put_object(Bucket=bucket, Key=key, Body=data, ContentType=content_type)["ETag"])

    def put_new(
        self,
        bucket: str,
        key: str,
        data: bytes,
        content_type: str = "application/octet-stream",
        keep_days: int | None = None,
    ) -> bool:
        """Write only if nothing has this key; False when something has. Of several racing writers one gets True.

        Args:
            keep_days: object lock in COMPLIANCE mode for so many days, whatever the bucket's own default is by now.
        """
        lock = {} if keep_days is None else _lock(datetime.now(UTC) + timedelta(days=keep_days))
        return self._conditional(bucket, key, data, content_type, IfNoneMatch="*", **lock) is not None

    def get_locked(self, bucket: str, key: str, version_id: str | None) -> tuple[bytes, datetime | None]:
        """One version's bytes, and until when object lock in COMPLIANCE mode keeps it; None: it does not."""
        with self._translated(bucket, key):
            response = self._client.get_object(Bucket=bucket, Key=key, VersionId=version_id)
            kept = response.get("ObjectLockMode") == "COMPLIANCE"
            return response["Body"].read(), response.get("ObjectLockRetainUntilDate") if kept else None

    def keep_until(self, bucket: str, key: str, version_id: str | None, until: datetime) -> None:
        """Lengthen the time for which object lock keeps one version; it can never be shortened."""
        with self._translated(bucket, key):
            retention = {"Mode": "COMPLIANCE", "RetainUntilDate": until}
            self._client.put_object_retention(Bucket=bucket, Key=key, VersionId=version_id, Retention=retention)

    def kept_days(self, bucket: str) -> int:
        """For how many days the bucket keeps what is written to it, by its default: at least a year.

        A caller who may not read the default gets a year too.
        """
        try:
            with self._translated(bucket, ""):
                return max(LOCK_DAYS, self._default_days(bucket))
        except (InvalidData, NotFound, Unavailable):
            return LOCK_DAYS

    def replace(self, bucket: str, key: str, data: bytes, etag: str) -> str | None:
        """Write only if the object still has this etag. Returns the new etag; None when somebody else wrote first."""
        return self._conditional(bucket, key, data, "application/json", IfMatch=etag)

    def delete(self, bucket: str, key: str) -> None:
        """Delete, whether it exists or not (in a versioned bucket: a delete marker)."""
        with self._translated(bucket, key):
            self._client.delete_object(Bucket=bucket, Key=key)

    def list(self, bucket: str, prefix: str = "", start_after: str = "") -> Iterator[StoredObject]:
        """The objects below a prefix in key order, beginning after a key."""
        query = {"list-type": "2", "prefix": prefix, **({"start-after": start_after} if start_after else {})}
        with self._translated_reading(bucket, prefix):
            for page in self._reader.pages(bucket, query):
                yield from (_stored(item) for item in page.iterfind("Contents"))

    def versions(self, bucket: str, prefix: str = "", start_after: str = "") -> Iterator[StoredObject]:
        """Every version below a prefix, a key's newest first, and every delete marker; beginning after a key."""
        query = {"versions": "", "prefix": prefix, **({"key-marker": start_after} if start_after else {})}
        with self._translated_reading(bucket, prefix):
            for page in self._reader.pages(bucket, query):
                yield from (_stored(item) for item in page.iterfind("Version"))
                yield from (_stored(item, deleted=True) for item in page.iterfind("DeleteMarker"))

    def upload(self, bucket: str, key: str, path: Path) -> None:
        """Write a file, in parts where it is large."""
        with self._translated(bucket, key):
            from boto3.exceptions import S3UploadFailedError

            try:
                self._client.upload_file(str(path), bucket, key)
            except S3UploadFailedError as error:  # boto3 hides what happened behind an error of its own
                raise error.__context__ or error from error

    def download(self, bucket: str, key: str, path: Path) -> None:
        """Read into a file."""
        with self._translated(bucket, key):
            self._client.download_file(bucket, key, str(path))

    def ensure_bucket(self, bucket: str, *, versioned: bool = True, locked: bool = False) -> bool:
        """Create the bucket unless it is there, and set what it lacks; True if it was created.

        Args:
            locked: object lock in COMPLIANCE mode, for a year unless the bucket says longer.

        Raises:
            ConfigError: the bucket was made without object lock, the store cannot add it, and it holds something.
        """
        with self._translated(bucket, ""):
            created = self._created(bucket, locked)
            status = self._client.get_bucket_versioning(Bucket=bucket).get("Status")
            if (versioned or locked) and status != "Enabled":
                self._client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            elif not versioned and not locked and status == "Enabled":
                self._client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
            if locked and self._default_days(bucket) < LOCK_DAYS:
                self._lock(bucket)
        return created

    def _created(self, bucket: str, locked: bool) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._client.head_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _MISSING:
                raise
            self._client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=locked)
            return True
        return False

    def _can_be_locked(self, bucket: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._client.get_object_lock_configuration(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ObjectLockConfigurationNotFoundError":
                raise
            return False
        return True

    def _default_days(self, bucket: str) -> int:
        """For how many days the bucket's default keeps an object in COMPLIANCE mode; 0 where there is no default."""
        if not self._can_be_locked(bucket):
            return 0
        found = self._client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
        rule = found.get("Rule", {}).get("DefaultRetention", {})
        return int(rule.get("Days", 0) + LOCK_DAYS * rule.get("Years", 0)) if rule.get("Mode") == "COMPLIANCE" else 0

    def _lock(self, bucket: str) -> None:
        from botocore.exceptions import ClientError

        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": LOCK_DAYS}}
        wanted = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        try:
            if not self._can_be_locked(bucket):
                self._client.delete_bucket(Bucket=bucket)  # refused unless it is empty
                self._client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
            self._client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=wanted)
        except ClientError as error:
            raise ConfigError(
                f"The bucket {bucket} at {self.settings.s3_endpoint} has no object lock and cannot be given one "
                f"({error.response['Error']['Code']}), so its records could be deleted: make a new bucket with object "
                "lock, copy the records there in order, and name it in SWITCHYARD_LEDGER_BUCKET."
            ) from error

    def _conditional(self, bucket: str, key: str, data: bytes, content_type: str, **condition: Any) -> str | None:
        try:
            with self._translated(bucket, key):
                response = self._client.put_object(
                    Bucket=bucket, Key=key, Body=data, ContentType=content_type, **condition
                )
                return str(response["ETag"])
        except _ConditionFailed:
            return None

    def _read(self, method: str, bucket: str, key: str, query: Mapping[str, str] | None = None) -> BaseHTTPResponse:
        with self._translated_reading(bucket, key):
            response = self._reader.request(method, bucket, key, query)
        self._note_time(response.headers.get("date"))
        return response

    def _note_clock(self, parsed: Any, **_: Any) -> None:
        self._note_time(parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"))

    def _note_time(self, date: str | None) -> None:
        """Every answer says what time it is at the store, to the second."""
        if date is not None:
            with suppress(TypeError, ValueError):
                self._seconds_ahead = parsedate_to_datetime(date).timestamp() - time.time()

    @contextmanager
    def _translated_reading(self, bucket: str, key: str) -> Iterator[None]:
        try:
            yield
        except S3Refused as error:
            raise self._error(error.code, error.message, f"{bucket}/{key}".rstrip("/")) from error
        except FAILURES as error:
            raise self._no_answer(error) from error

    @contextmanager
    def _translated(self, bucket: str, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            said = error.response["Error"]
            raise self._error(said["Code"], said.get("Message", ""), f"{bucket}/{key}".rstrip("/")) from error
        except BotoCoreError as error:
            raise self._no_answer(error) from error

    def _error(self, code: str, message: str, where: str) -> WorkspaceError:
        """Our error for one of S3's error codes."""
        at = self.settings.s3_endpoint
        if code in _CONDITION_FAILED:
            return _ConditionFailed(where)
        if code in _MISSING:
            return NotFound(f"There is no {where} in the object store at {at}.")
        if code in _FORBIDDEN:
            return InvalidData(
                f"The object store at {at} refuses these credentials for {where} ({code}): "
                "check SWITCHYARD_S3_ACCESS_KEY and SWITCHYARD_S3_SECRET_KEY."
            )
        return Unavailable(
            f"The object store at {at} failed on {where} with {code}: {message or 'no reason given'}"
            + (" Its disk is full: make room, then run this again." if code == "XMinioStorageFull" else "")
        )

    def _no_answer(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"The object store at {self.settings.s3_endpoint} does not answer ({cause(error)}): is it up? "
            "`make status` tells, `make up` starts it."
        )


def _stored(item: Any, *, deleted: bool = False) -> StoredObject:
    """One entry of a list, as XML. Only a list of versions says which version it is, and whether it is the latest."""
    return StoredObject(
        key=unquote_plus(item.findtext("Key", "")),
        size=int(item.findtext("Size") or 0),
        etag=item.findtext("ETag") or "",
        version_id=item.findtext("VersionId"),
        latest=item.findtext("IsLatest") != "false",
        deleted=deleted,
        modified=datetime.fromisoformat(item.findtext("LastModified")).timestamp(),
    )


def _lock(until: datetime) -> dict[str, Any]:
    return {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}


class _ConditionFailed(WorkspaceError):
    """Internal: a conditional write lost."""
