"""Somebody who writes to the ledger's bucket: what he changes is refused, passed over or named, and stops nobody.

Unless a test says otherwise, the attacker holds credentials that may write, delete and change retention in the bucket.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.times import utc_now, utc_text
from mlflow_project.errors import ConfigError, InvalidData, LedgerRewritten, WorkspaceError
from mlflow_project.ledger import Draft, Ledger
from mlflow_project.ledger import audit as ledger_audit
from mlflow_project.ledger.anchor import Anchor, Head
from mlflow_project.ledger.chain import Link, key_of, placed
from mlflow_project.ledger.ledger import ledger_address
from mlflow_project.promotion.intent import MOST_SECONDS, is_under_way
from mlflow_project.promotion.promote import promote
from mlflow_project.promotion.verify_ledger import verify_ledger
from mlflow_project.promotion.views import at
from mlflow_project.rules.canonical import canonical
from mlflow_project.settings import StoreSettings, load
from stack.addresses import read_environment
from stack.credentials import check_commands_are_no_administrator, credentials_file, minio_credentials
from stack.minio_users import user_of
from tests.conftest import RunningStack
from tests.releases.conftest import Yard
from tests.releases.test_attacks import FORGERIES

ANNA = "user:anna"


def draft(why: str = "") -> Draft:
    return Draft("approval", "prompt", "qa", ANNA, why, version=1, digest="sha256:1")


def problems(store: ObjectStore, heads: Any = ()) -> list[tuple[int | None, str]]:
    return [(each.serial, each.problem) for each in ledger_audit.verify(store, heads=heads).findings]


def forged(ledger: Ledger, **fields: Any) -> bytes:
    """A record in the next place, with the right predecessor, that says what the attacker likes."""
    serial, head = ledger.head()
    record = LedgerRecord(serial + 1, head, "0" * 32, utc_now(), "approval", "prompt", "qa", ANNA, version=1)
    return canonical(record.to_dict() | fields)


def newest(store: ObjectStore, serial: int) -> str | None:
    return next(item.version_id for item in store.versions(store.settings.ledger_bucket, key_of(serial)))


@contextmanager
def dated(store: ObjectStore, time: str) -> Iterator[None]:
    """MinIO takes the time of a version from this header, by whoever may write."""

    def add(request: Any, **_: Any) -> None:
        request.headers["X-Minio-Source-Mtime"] = time

    events = store._client.meta.events
    events.register("before-sign.s3.PutObject", add)
    try:
        yield
    finally:
        events.unregister("before-sign.s3.PutObject", add)


def without_default_retention(store: ObjectStore) -> None:
    store._client.put_object_lock_configuration(
        Bucket=store.settings.ledger_bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )


@pytest.fixture
def three(store: ObjectStore) -> ObjectStore:
    """A ledger of three records."""
    ledger = Ledger(store)
    for number in range(3):
        ledger.append(draft(str(number)))
    return store


def test_records_written_after_the_buckets_retention_was_taken_away_cannot_be_deleted(three: ObjectStore) -> None:
    """He takes the default retention away, and hopes that the records after that are his to rewrite: they are not."""
    without_default_retention(three)
    Ledger(three).append(draft("after"))
    with pytest.raises(ClientError, match="WORM"):
        three._client.delete_object(
            Bucket=three.settings.ledger_bucket,
            Key=key_of(4),
            VersionId=newest(three, 4),
            BypassGovernanceRetention=True,
        )
    assert problems(three) == []


def test_a_record_that_object_lock_does_not_keep_or_not_long_enough_is_named(three: ObjectStore) -> None:
    """He writes records of his own without a lock, to change them later."""
    without_default_retention(three)
    ledger, bucket = Ledger(three), three.settings.ledger_bucket
    three.put_new(bucket, key_of(4), forged(ledger))
    three.put_new(bucket, key_of(5), forged(ledger), "application/json", keep_days=30)
    assert problems(three) == [(4, "unprotected"), (5, "unprotected")]
    assert ledger_audit.extend(three, 365) == 5
    assert problems(three) == []


def test_the_newest_record_replaced_by_another_is_refused_by_every_host_that_has_seen_it(
    three: ObjectStore, tmp_path: Path
) -> None:
    """The newest record has no lock (written by somebody else's program); he deletes it and writes another one."""
    without_default_retention(three)
    ledger, bucket = Ledger(three), three.settings.ledger_bucket
    three.put_new(bucket, key_of(4), forged(ledger, why="as it was"))
    assert Ledger(three, anchors=tmp_path).head()[0] == 4
    head = ledger.head()[1]
    three._client.delete_object(Bucket=bucket, Key=key_of(4), VersionId=newest(three, 4))
    with pytest.raises(InvalidData, match="missing"):
        ledger.head()
    with pytest.raises(LedgerRewritten, match="ends with record 3"):
        Ledger(three, anchors=tmp_path).state()
    three.put_new(bucket, key_of(4), forged(Ledger(three), why="as he likes it"))
    for _ in range(2):
        with pytest.raises(LedgerRewritten, match=r"record 4 was sha256:\w+, and now it is sha256"):
            Ledger(three, anchors=tmp_path).append(draft("never"))
    assert (None, "head missing") in problems(three, [head])
    seen = Anchor(tmp_path, ledger_address(three)).read()
    assert seen == Head(4, head)
    assert (4, "head missing") in problems(three, [seen])
    assert Ledger(three).head()[0] == 4, "a host that has never seen it cannot know"


def test_a_whole_chain_in_another_bucket_s_place_is_refused(three: ObjectStore, tmp_path: Path) -> None:
    """He owns the store, and puts a chain that is consistent in itself where the ledger was."""
    Ledger(three, anchors=tmp_path).head()
    other = ObjectStore(three.settings.model_copy(update={"ledger_bucket": f"{three.settings.ledger_bucket}-b"}))
    other.ensure_bucket(other.settings.ledger_bucket, locked=True)
    for number in range(9):
        Ledger(other).append(draft(f"other {number}"))
    assert problems(other) == []
    Anchor(tmp_path, ledger_address(three)).path.rename(Anchor(tmp_path, ledger_address(other)).path)
    with pytest.raises(LedgerRewritten, match="not the one that this host knows"):
        Ledger(other, anchors=tmp_path).state()


def test_no_other_user_can_read_what_a_program_without_our_umask_keeps(three: ObjectStore, tmp_path: Path) -> None:
    """He has an account on the machine where somebody's own program reads the ledger with the machine's umask."""
    machines = os.umask(0o022)
    try:
        Ledger(three, cache=tmp_path / "state" / "cache", anchors=tmp_path / "state" / "ledger").records()
    finally:
        os.umask(machines)
    kept = list((tmp_path / "state").rglob("*"))
    assert len([path for path in kept if path.is_file()]) == 3, "the cache, the newest head and its lock"
    assert [path for path in (tmp_path / "state", *kept) if path.stat().st_mode & 0o077] == []


def test_an_anchor_moves_forward_alone_and_a_broken_one_stops_nobody(three: ObjectStore, tmp_path: Path) -> None:
    anchor = Anchor(tmp_path, ledger_address(three))
    Ledger(three, anchors=tmp_path).append(draft("fourth"))
    newest_head = anchor.read()
    assert newest_head is not None
    assert newest_head.serial == 4
    anchor.advance(Head(2, "sha256:2"))
    assert anchor.read() == newest_head
    anchor.path.write_text("{")
    assert Ledger(three, anchors=tmp_path).head()[0] == 4
    assert anchor.read() == newest_head
    assert anchor.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("serial", [2, 3])
def test_a_version_with_an_older_date_does_not_take_the_place_of_the_record(
    three: ObjectStore, tmp_path: Path, serial: int
) -> None:
    """He writes over a record and gives his version a date before the genuine one's, so that his is the oldest."""
    before = Ledger(three, anchors=tmp_path).records()
    _, data = placed(draft("forged"), Link(before[serial - 2], before[serial - 1].previous))
    with dated(three, "2020-01-01T00:00:00Z"):
        three.put(three.settings.ledger_bucket, key_of(serial), data)
    versions = [item.modified for item in three.versions(three.settings.ledger_bucket, key_of(serial))]
    assert min(versions) < datetime(2021, 1, 1, tzinfo=UTC).timestamp(), "MinIO believed him"
    assert Ledger(three, anchors=tmp_path).records() == before
    assert (serial, "overwritten") in problems(three)
    if serial == 2:
        assert Ledger(three).records() == before, "a new host asks the next record which version is genuine"


@pytest.mark.parametrize(
    "time", ["2200-12-31T00:00:00.000Z", "9999-12-31T00:00:00.000Z", "2000-01-01T00:00:00.000Z", "~tomorrow"]
)
@pytest.mark.parametrize("date", ["", "2200-12-31T00:00:00Z"])
def test_a_record_that_is_dated_ahead_poisons_no_time(yard: Yard, time: str, date: str) -> None:
    """He appends a record in the next place with an impossible time, and lets MinIO believe that time, too."""
    store, version = yard.parts.store, yard.sealed()
    data = forged(yard.parts.ledger, time=time, name=yard.name, type="flip", alias="Production", version=7)
    if date:
        with dated(store, date):
            store.put_new(store.settings.ledger_bucket, key_of(2), data, keep_days=365)
    else:
        store.put_new(store.settings.ledger_bucket, key_of(2), data, keep_days=365)
    promote(yard.parts, yard.name, version, "Production", ANNA)
    live, now = yard.state.live["Production"], datetime.now(UTC)
    assert (live.version, live.since[:4]) == (version, str(now.year))
    (row,) = [row for row in at(yard.parts, (now + timedelta(days=1)).isoformat()) if row["name"] == yard.name]
    assert row["version"] == version
    named = {serial for serial, _ in problems(store)}
    assert named == {2}
    assert [record.serial for record in yard.parts.ledger.state().strange] == [2]
    assert Ledger(store).records() == yard.parts.ledger.records(), "a new host sees the same"


@pytest.mark.parametrize("serial", [5, 999_999_999_999])
def test_a_record_beyond_the_end_is_passed_over_and_named(three: ObjectStore, serial: int) -> None:
    """He writes far ahead, so that everybody waits for the records in between, or reads a million million of them."""
    three.put_new(three.settings.ledger_bucket, key_of(serial), forged(Ledger(three)), keep_days=365)
    ledger = Ledger(three)
    assert ledger.append(draft("fourth")).serial == 4
    if serial > 5:
        assert Ledger(three).state().ahead == (serial,)
    assert ledger.append(draft("later")).serial == (6 if serial == 5 else 5)
    assert [record.why for record in Ledger(three).records()[3:] if record.who] == ["fourth", "later"]
    findings = ledger_audit.verify(three).findings
    assert serial in {finding.serial for finding in findings}
    assert len(findings) <= 3, "one line per gap, however wide it is"


@pytest.mark.parametrize("previous", ["sha256:" + "0" * 64, "sha256:" + "9" * 64])
def test_a_record_that_does_not_follow_the_one_before_it_stops_nobody(
    three: ObjectStore, tmp_path: Path, previous: str
) -> None:
    """He takes the next place with a record that names another predecessor."""
    before = Ledger(three, anchors=tmp_path).records()
    three.put_new(three.settings.ledger_bucket, key_of(4), forged(Ledger(three), previous=previous), keep_days=365)
    assert Ledger(three, anchors=tmp_path).append(draft("fifth")).serial == 5
    for host in (Ledger(three), Ledger(three, anchors=tmp_path)):
        assert host.records()[:3] == before
        assert [record.serial for record in host.state().strange] == [4]
    assert problems(three) == [(4, "broken chain")]


def test_a_record_that_was_followed_is_never_passed_over_later(three: ObjectStore, tmp_path: Path) -> None:
    """He writes a record without a lock, waits for the next one, and then replaces his own, so that the next one does
    not follow it any more."""
    without_default_retention(three)
    bucket = three.settings.ledger_bucket
    three.put_new(bucket, key_of(4), forged(Ledger(three), why="as it was"))
    Ledger(three, anchors=tmp_path).append(draft("fifth"))
    three._client.delete_object(Bucket=bucket, Key=key_of(4), VersionId=newest(three, 4))
    three.put_new(bucket, key_of(4), forged(Ledger(three, anchors=None), why="as he likes it", serial=4))
    with pytest.raises(LedgerRewritten, match="record 5 before it no longer follows"):
        Ledger(three, anchors=tmp_path).state()
    assert (5, "broken chain") in problems(three)


def test_a_record_that_does_not_follow_one_with_two_versions_stops_the_reading(three: ObjectStore) -> None:
    """He writes over the newest record and appends one that names neither version: nothing tells which is genuine."""
    three.put(three.settings.ledger_bucket, key_of(3), b"{}")
    fork = forged(Ledger(three), previous="sha256:" + "9" * 64, serial=4)
    three.put_new(three.settings.ledger_bucket, key_of(4), fork, keep_days=365)
    with pytest.raises(InvalidData, match="does not follow"):
        Ledger(three).state()


@pytest.mark.parametrize("envelope", ["empty", "none", *(forgery.__name__ for forgery in FORGERIES)])
def test_a_seal_with_an_empty_or_foreign_envelope_is_named(yard: Yard, tmp_path: Path, envelope: str) -> None:
    """He appends records of type `seal` that no gate of ours has signed."""
    yard.sealed("1")
    version = yard.register("2")
    made: dict[str, Callable[..., Any]] = {forgery.__name__: forgery for forgery in FORGERIES}
    evidence = {} if envelope == "none" else {"envelope": {}}
    if envelope in made:
        evidence = {"envelope": dict(made[envelope](yard, version, tmp_path))}
    known = yard.parts.ledger.head()[0]
    yard.parts.ledger.append(
        Draft("seal", "prompt", yard.name, ANNA, "", version, yard.release(version).digest, evidence=evidence)
    )
    assert [(each.serial, each.problem) for each in verify_ledger(yard.parts).findings] == [(known + 1, "broken seal")]


def test_what_a_ledger_command_says_of_a_rewritten_ledger_is_one_sentence_and_exit_code_4(
    yard: Yard, tmp_path: Path
) -> None:
    version = yard.sealed()
    own = {"SWITCHYARD_STATE": str(tmp_path), "SWITCHYARD_TRUSTED_KEYS": str(yard.parts.seal.trusted_keys)}
    store = _store_environment(yard)
    code, said = yard.run("live", "--json", **own, **store)
    assert code == 0, said
    address = ledger_address(yard.parts.store)
    anchor = Anchor(tmp_path / "ledger", address)
    assert anchor.read() is not None
    anchor.advance(Head(99, "sha256:" + "9" * 64))
    code, said = yard.run("promote", yard.name, "--version", str(version), "--to", "Staging", **own, **store)
    assert (code, "is not the one that this host knows" in said) == (4, True), said
    assert "Traceback" not in said
    code, said = yard.run("ledger", "verify", **own, **store)
    assert (code, "head missing" in said) == (4, True), said


def _store_environment(yard: Yard) -> dict[str, str]:
    settings = yard.parts.store.settings
    return {
        "SWITCHYARD_S3_ENDPOINT": settings.s3_endpoint,
        "SWITCHYARD_S3_ACCESS_KEY": settings.s3_access_key.get_secret_value(),
        "SWITCHYARD_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        "SWITCHYARD_MLFLOW_URI": yard.parts.registry.uri,
    }


def test_a_forged_intent_blocks_a_name_for_minutes_and_not_for_ever(yard: Yard) -> None:
    """He writes an intent of another machine that never expires."""
    evidence = {"writer": {"host": "elsewhere", "pid": 1, "started": 1.0}, "expires": "9999-12-31T00:00:00.000Z"}
    version = yard.sealed()
    draft = Draft(
        "intent", "prompt", yard.name, "user:nobody", "", version, "sha256:1", "Production", evidence=evidence
    )
    intent = yard.parts.ledger.append(draft)
    with pytest.raises(WorkspaceError, match="is moving") as refused:
        promote(yard.parts, yard.name, version, "Production", ANNA)
    assert "9999" not in str(refused.value)
    then = datetime.now(UTC) - timedelta(seconds=MOST_SECONDS + 1)
    old = replace(intent, time=utc_text(then))
    assert is_under_way(intent)
    assert not is_under_way(old)
    assert not is_under_way(replace(intent, evidence={**evidence, "expires": "~"}))


FORBIDDEN: dict[str, Callable[[Any, str, str, str | None], Any]] = {
    "delete a record": lambda s3, bucket, key, version: s3.delete_object(Bucket=bucket, Key=key),
    "delete a version": lambda s3, bucket, key, version: s3.delete_object(Bucket=bucket, Key=key, VersionId=version),
    "bypass the lock": lambda s3, bucket, key, version: s3.delete_object(
        Bucket=bucket, Key=key, VersionId=version, BypassGovernanceRetention=True
    ),
    "delete many": lambda s3, bucket, key, version: _raise_errors(
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key, "VersionId": version}]})
    ),
    "shorten the lock": lambda s3, bucket, key, version: s3.put_object_retention(
        Bucket=bucket,
        Key=key,
        VersionId=version,
        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=1)},
    ),
    "weaken the lock": lambda s3, bucket, key, version: s3.put_object_retention(
        Bucket=bucket,
        Key=key,
        VersionId=version,
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=900)},
    ),
    "take the default retention away": lambda s3, bucket, key, version: s3.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    ),
    "suspend versions": lambda s3, bucket, key, version: s3.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
    ),
    "let records expire": lambda s3, bucket, key, version: s3.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={
            "Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]
        },
    ),
    "open the bucket to all": lambda s3, bucket, key, version: s3.put_bucket_policy(
        Bucket=bucket,
        Policy=f'{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":["s3:DeleteObject"],'
        f'"Resource":["arn:aws:s3:::{bucket}/*"]}}]}}',
    ),
    "remove the bucket": lambda s3, bucket, key, version: s3.delete_bucket(Bucket=bucket),
}


def _raise_errors(answer: Any) -> None:
    for error in answer.get("Errors", ()):
        raise ClientError({"Error": error}, "DeleteObjects")


def as_role(role: str, state: Path) -> ObjectStore:
    """The stack's store by the credentials of one of its programs."""
    settings = load(StoreSettings)
    if role == "commands":
        return ObjectStore(settings)
    user = user_of(role, minio_credentials(state))
    own = {"s3_access_key": SecretStr(user.access_key), "s3_secret_key": user.secret_key}
    return ObjectStore(settings.model_copy(update=own))


@pytest.fixture(scope="module")
def record(minio: RunningStack) -> tuple[Path, int]:
    """The stack's own ledger with a record in it."""
    return minio.state, Ledger(ObjectStore(load(StoreSettings))).append(draft("a record of the stack")).serial


@pytest.mark.parametrize("what", FORBIDDEN)
@pytest.mark.parametrize("role", ["commands", "follower", "mlflow"])
def test_the_credentials_of_no_program_can_change_or_delete_what_the_ledger_holds(
    record: tuple[Path, int], role: str, what: str
) -> None:
    """He has the credentials that a command, the follower or MLflow holds, and no more."""
    state, serial = record
    store = as_role(role, state)
    bucket, key = store.settings.ledger_bucket, key_of(serial)
    version = newest(ObjectStore(load(StoreSettings)), serial)
    with pytest.raises(ClientError, match=r"AccessDenied|WORM|Access Denied"):
        FORBIDDEN[what](store._client, bucket, key, version)
    assert ledger_audit.verify(ObjectStore(load(StoreSettings))).findings == ()


def test_each_program_s_credentials_are_enough_for_its_own_work(record: tuple[Path, int]) -> None:
    state, serial = record
    assert Ledger(as_role("follower", state)).append(draft("by the follower")).serial > serial
    follower, mlflow = as_role("follower", state), as_role("mlflow", state)
    settings = follower.settings
    follower.put(settings.coordination_bucket, "hosts/here.json", b"{}")
    follower.delete(settings.coordination_bucket, "hosts/here.json")
    follower.put(settings.raw_bucket, "events/day=2026-11-30/here-1.jsonl", b"{}")
    mlflow.put(settings.models_bucket, "mlflow/1/a", b"{}")
    for store, bucket in (
        (follower, settings.models_bucket),
        (follower, settings.raw_bucket),
        (mlflow, "ledger-bucket"),
    ):
        with pytest.raises(InvalidData, match="refuses these credentials"):
            store.put(bucket, "not-mine", b"{}")


def test_a_stack_from_before_gives_its_commands_other_credentials_than_the_administrator_s(tmp_path: Path) -> None:
    (tmp_path / "stack.env").write_text(
        "export SWITCHYARD_S3_ACCESS_KEY=root-key\nexport SWITCHYARD_S3_SECRET_KEY=root-secret\nexport OTHER=1\n"
    )
    credentials = minio_credentials(tmp_path)
    assert credentials["SWITCHYARD_S3_ADMIN_ACCESS_KEY"] == "root-key"
    commands = read_environment(tmp_path)
    assert commands["OTHER"] == "1"
    assert "root-key" not in commands.values()
    assert minio_credentials(tmp_path) == credentials
    assert credentials_file(tmp_path).stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError, match="administrator"):
        check_commands_are_no_administrator("root-key", credentials)
