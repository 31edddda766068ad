"""MinIO's users: what each program's credentials may do. In: the administrator's credentials. Out: users with policies.

Nobody but set-up holds the administrator's credentials. No other user can delete what lies in the ledger's bucket,
change its object lock or versioning, bypass it, or replicate into it: the ledger can only be read and appended to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from pydantic import SecretStr
from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from mlflow_project.errors import ConfigError, Unavailable
from mlflow_project.settings import StoreSettings

LEDGER_ACTIONS = (
    "s3:GetBucketLocation",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketVersioning",
    "s3:GetObject",
    "s3:GetObjectRetention",
    "s3:GetObjectVersion",
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:PutObject",
    "s3:PutObjectRetention",
)
"""All that a program needs to do in the ledger's bucket. `PutObjectRetention` is what writing a record
together with its lock takes; in COMPLIANCE mode, the only one allowed, it can never shorten a lock."""


FORBIDDEN = (
    "s3:BypassGovernanceRetention",
    "s3:CreateBucket",
    "s3:Delete*",
    "s3:ForceDelete*",
    "s3:PutBucket*",
    "s3:PutEncryption*",
    "s3:PutLifecycle*",
    "s3:PutObjectLegalHold",
    "s3:PutObject*Tagging",
    "s3:PutReplication*",
    "s3:Replicate*",
    "s3:ResetBucketReplication*",
    "s3:RestoreObject",
)
"""What nobody but the administrator may do in the ledger's bucket, even with every right elsewhere."""


@dataclass(frozen=True)
class User:
    """One user of MinIO. `role` is `commands` (people's commands: gate, promoter, jobs), `follower` or `mlflow`."""

    role: str
    access_key: str
    secret_key: SecretStr


def user_of(role: str, credentials: Mapping[str, str]) -> User:
    """The user of a role, from the names and values of `credentials`."""
    access, secret = (credentials[f"SWITCHYARD_S3_{role.upper()}_{key}"] for key in ("ACCESS_KEY", "SECRET_KEY"))
    return User(role, access, SecretStr(secret))


def make_users(store: StoreSettings, users: list[User]) -> None:
    """Make these users, or set their policies and secrets anew. `store` holds the administrator's credentials.

    Raises:
        Unavailable: MinIO does not answer. ConfigError: it refuses, as when the credentials are no administrator's.
    """
    address = urlsplit(store.s3_endpoint)
    provider = StaticProvider(store.s3_access_key.get_secret_value(), store.s3_secret_key.get_secret_value())
    admin = MinioAdmin(
        endpoint=address.netloc,
        credentials=provider,
        region=store.s3_region,
        secure=address.scheme == "https",
        http_client=PoolManager(timeout=Timeout(connect=2, read=20), retries=Retry(total=1)),
    )
    try:
        for user in users:
            policy = f"switchyard-{user.role}"
            admin.policy_add(policy, policy=policy_of(user.role, store))
            admin.user_add(user.access_key, user.secret_key.get_secret_value())
            admin.policy_set(policy, user=user.access_key)
    except MinioAdminException as error:
        raise ConfigError(
            f"MinIO at {store.s3_endpoint} refuses to make its users ({error}): are SWITCHYARD_S3_ADMIN_ACCESS_KEY and "
            "SWITCHYARD_S3_ADMIN_SECRET_KEY those of its administrator?"
        ) from error
    except HTTPError as error:
        raise Unavailable(f"MinIO at {store.s3_endpoint} does not answer ({type(error).__name__}).") from error


def policy_of(role: str, store: StoreSettings) -> dict[str, Any]:
    """A role's policy: what it may do, and for every role what nobody may do to the ledger."""
    allowed = {
        "commands": [_allow(["s3:*"], "*")],
        "follower": [
            _allow(list(LEDGER_ACTIONS), store.ledger_bucket),
            _allow(_READ, store.artifacts_bucket, store.raw_bucket),
            _allow(["s3:PutObject"], f"{store.artifacts_bucket}/ledger", f"{store.raw_bucket}/events"),
            _allow([*_READ, "s3:PutObject", "s3:DeleteObject"], store.coordination_bucket),
        ],
        "mlflow": [_allow(["s3:*"], store.models_bucket)],
    }
    return {"Version": "2012-10-17", "Statement": [*allowed[role], *_protect(store.ledger_bucket)]}


_READ = ["s3:GetBucketLocation", "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"]


def _allow(actions: list[str], *places: str) -> dict[str, Any]:
    """`places` are buckets, or folders in them; `*` is every bucket."""
    resources = [arn for place in places for arn in (f"arn:aws:s3:::{place}", f"arn:aws:s3:::{place}/*")]
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def _protect(ledger: str) -> list[Mapping[str, Any]]:
    """Denials name their actions: MinIO does not load a statement with `NotAction` again after a restart."""
    resources = [f"arn:aws:s3:::{ledger}", f"arn:aws:s3:::{ledger}/*"]
    compliance_only = {"StringNotEquals": {"s3:object-lock-mode": "COMPLIANCE"}}
    return [
        {"Effect": "Deny", "Action": list(FORBIDDEN), "Resource": resources},
        {"Effect": "Deny", "Action": ["s3:PutObjectRetention"], "Resource": resources, "Condition": compliance_only},
    ]
