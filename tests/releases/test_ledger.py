"""The ledger on a real store: appending, racing, tampering."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import ConfigError, PromotionConflict, Unavailable
from mlflow_project.ledger import Draft, Ledger
from mlflow_project.ledger import audit as ledger_audit
from mlflow_project.ledger.chain import Link, key_of, placed
from mlflow_project.settings import StoreSettings
from tests.releases.toll import Toll


def draft(why: str = "") -> Draft:
    return Draft("approval", "prompt", "qa", "user:anna", why, version=1, digest="sha256:1")


def problems(store: ObjectStore) -> list[tuple[int | None, str]]:
    return [(finding.serial, finding.problem) for finding in ledger_audit.verify(store).findings]


@pytest.fixture
def five(store: ObjectStore) -> ObjectStore:
    """A ledger of five records."""
    ledger = Ledger(store)
    for number in range(5):
        ledger.append(draft(str(number)))
    return store


def test_records_are_numbered_from_one_and_follow_each_other(five: ObjectStore) -> None:
    records = Ledger(five).records()
    assert [record.serial for record in records] == [1, 2, 3, 4, 5]
    assert Ledger(five).records(start=4) == records[3:]
    assert problems(five) == []


def test_a_reason_is_masked_before_it_is_recorded_and_nothing_else_is(five: ObjectStore) -> None:
    secret = "glpat-246DxV4jgq3QzAi88WJt"
    draft = Draft(
        "approval", "prompt", "qa", "user:anna@example.com", f"as {secret} said", version=1, digest="sha256:1"
    )
    record = Ledger(five).append(draft)
    assert secret.encode() not in five.get(five.settings.ledger_bucket, key_of(record.serial))
    assert record.who == "user:anna@example.com"


def test_a_reader_sees_what_others_append_later(five: ObjectStore) -> None:
    reader, writer = Ledger(five), Ledger(five)
    assert reader.head()[0] == 5
    writer.append(draft("later"))
    assert reader.records()[-1].why == "later"


def test_of_two_that_want_the_same_serial_one_gets_the_conflict(five: ObjectStore) -> None:
    first, second = Ledger(five), Ledger(five)
    assert first.head() == second.head()
    first.append_at(6, draft("first"))
    with pytest.raises(PromotionConflict):
        second.append_at(6, draft("second"))
    assert [record.why for record in second.records(6)] == ["first"]


def test_fifty_writers_at_once_lose_nothing(store: ObjectStore) -> None:
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda number: Ledger(store).append(draft(str(number))), range(50)))
    assert {record.why for record in Ledger(store).records()} == {str(number) for number in range(50)}
    assert problems(store) == []


def test_a_second_version_over_a_record_is_named_and_the_oldest_counts(five: ObjectStore) -> None:
    bucket, forged = (
        five.settings.ledger_bucket,
        five.get(five.settings.ledger_bucket, key_of(3)).replace(b'"2"', b'"9"'),
    )
    five.put(bucket, key_of(3), forged)
    assert problems(five) == [(3, "overwritten")]
    assert [record.why for record in Ledger(five).records()] == ["0", "1", "2", "3", "4"]


def test_a_flipped_bit_in_any_record_is_found(five: ObjectStore) -> None:
    for serial in range(1, 6):
        data = bytearray(five.get(five.settings.ledger_bucket, key_of(serial)))
        data[len(data) // 2] ^= 1
        five.put(five.settings.ledger_bucket, key_of(serial), bytes(data))
    assert [serial for serial, _ in problems(five)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("serial", [1, 3, 5])
def test_a_deleted_record_is_named_and_still_read(five: ObjectStore, serial: int) -> None:
    five.delete(five.settings.ledger_bucket, key_of(serial))
    assert problems(five) == [(serial, "deleted")]
    if serial < 5:
        assert len(Ledger(five).records()) == 5


def test_a_record_cut_off_the_end_and_written_anew_is_named(five: ObjectStore) -> None:
    before = Ledger(five).records()
    five.delete(five.settings.ledger_bucket, key_of(5))
    assert Ledger(five).records() == before
    five.put_new(
        five.settings.ledger_bucket, key_of(5), placed(draft("forged"), Link(before[3], before[4].previous))[1]
    )
    assert Ledger(five).records() == before
    assert {problem for serial, problem in problems(five) if serial == 5} == {"deleted", "overwritten"}


def test_a_forked_missing_and_strange_record_are_named(five: ObjectStore) -> None:
    bucket, ledger = five.settings.ledger_bucket, Ledger(five)
    third = ledger.records()[2]
    _, fork = placed(draft("fork"), Link(third, "sha256:" + "1" * 64))
    five.put_new(bucket, key_of(7), fork)
    five.put_new(bucket, "records/notes.txt", b"hello")
    found = problems(five)
    assert (None, "stranger") in found
    assert (6, "missing") in found
    assert (7, "reordered") in found


def test_the_cache_saves_reading_and_is_never_believed_against_the_store(five: ObjectStore, tmp_path: Path) -> None:
    before = Ledger(five, tmp_path).records()
    assert Ledger(five, tmp_path).records() == before
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes().replace(b'"why":"2"', b'"why":"9"'))
    assert Ledger(five, tmp_path).records() == before
    kept.write_bytes(b"".join(kept.read_bytes().splitlines(keepends=True)[:2]) + b"half a li")
    assert Ledger(five, tmp_path).records() == before
    assert len(kept.read_bytes().splitlines()) == 5


def test_a_cache_of_another_ledger_is_dropped(five: ObjectStore, tmp_path: Path) -> None:
    another = five.settings.model_copy(update={"ledger_bucket": f"{five.settings.ledger_bucket}-b"})
    store = ObjectStore(another)
    store.ensure_bucket(another.ledger_bucket, locked=True)
    other = Ledger(store, tmp_path)
    for number in range(6):
        other.append(draft(f"other {number}"))
    (kept,) = tmp_path.iterdir()
    Ledger(five, tmp_path).records()
    for path in tmp_path.iterdir():
        path.write_bytes(kept.read_bytes())
    assert [record.why for record in Ledger(five, tmp_path).records()] == ["0", "1", "2", "3", "4"]


def test_a_foreign_object_in_a_records_place_is_named_and_stops_nobody(five: ObjectStore, tmp_path: Path) -> None:
    ledger, bucket = Ledger(five, tmp_path), five.settings.ledger_bucket
    ledger.head()
    five.put_new(bucket, key_of(6), b'{"from": "somebody else"}')
    assert ledger.append(draft("after")).serial == 7
    assert [record.why for record in Ledger(five, tmp_path).records(7)] == ["after"]
    assert problems(five) == [(6, "unreadable")]


def test_a_record_rewritten_with_all_that_follow_it_is_still_read_as_it_was(five: ObjectStore) -> None:
    before = Ledger(five).records()
    link = None
    for number, record in enumerate(before):
        link, data = placed(draft(f"forged {number}"), link)
        five.put(five.settings.ledger_bucket, key_of(record.serial), data)
    assert Ledger(five).records() == before


def test_a_bucket_made_by_hand_gets_what_it_lacks_or_says_that_it_cannot(five: ObjectStore) -> None:
    bucket = f"{five.settings.ledger_bucket}-hand"
    assert five.ensure_bucket(bucket, versioned=False)
    assert not five.ensure_bucket(bucket)
    versions = [five.put(bucket, "key", data) for data in (b"1", b"2")]
    assert len(list(five.versions(bucket))) == len(versions)
    with pytest.raises(ConfigError, match="no object lock"):
        five.ensure_bucket(bucket, locked=True)


@pytest.fixture
def toll(store: ObjectStore) -> Iterator[Toll]:
    with Toll(store.settings.s3_endpoint) as toll:
        yield toll


def through(toll: Toll, settings: StoreSettings) -> Ledger:
    return Ledger(ObjectStore(settings.model_copy(update={"s3_endpoint": toll.address}), read_timeout=3))


def test_a_put_whose_answer_is_lost_is_recognised_as_ones_own(five: ObjectStore, toll: Toll) -> None:
    ledger = through(toll, five.settings)
    ledger.head()
    toll.cut_answer_of_write(1)
    assert ledger.append(draft("mine")).serial == 6
    assert [record.why for record in Ledger(five).records(6)] == ["mine"]


def test_an_outage_is_an_outage_and_nothing_is_written(five: ObjectStore, toll: Toll) -> None:
    ledger = through(toll, five.settings)
    ledger.head()
    toll.close_from(1)
    with pytest.raises(Unavailable):
        ledger.append(draft("never"))
    assert Ledger(five).head()[0] == 5


def block_keys(store: ObjectStore) -> list[str]:
    return [item.key for item in store.list(store.settings.artifacts_bucket, f"ledger/{store.settings.ledger_bucket}/")]


def test_whole_blocks_are_shared_and_a_new_machine_reads_no_record_that_they_hold(
    store: ObjectStore, tmp_path: Path
) -> None:
    writer = Ledger(store, block=4)
    for number in range(10):
        writer.append(draft(str(number)))
    assert [key[-10:] for key in block_keys(store)] == ["0001.jsonl", "0002.jsonl"]
    with Toll(store.settings.s3_endpoint) as toll:
        settings = store.settings.model_copy(update={"s3_endpoint": toll.address})
        found = Ledger(ObjectStore(settings), tmp_path, block=4).records()
        assert toll.count.requests == 1 + 2 + 2 + 1 + 2  # blocks: list, both; the eighth; list, what is newer
    assert found == writer.records()
    assert Ledger(store, tmp_path, block=4).records() == found
    assert problems(store) == []


@pytest.mark.parametrize("broken", [b"", b"no record\n", b"forged", b"cut"])
def test_a_block_is_never_believed_against_the_ledger(store: ObjectStore, broken: bytes) -> None:
    writer = Ledger(store, block=4)
    for number in range(10):
        writer.append(draft(str(number)))
    bucket, key = store.settings.artifacts_bucket, block_keys(store)[1]
    data = store.get(bucket, key)
    forged = {b"forged": data.replace(b'"why":"7"', b'"why":"9"'), b"cut": data[:-40]}
    store.put(bucket, key, forged.get(broken, broken))
    assert Ledger(store, block=4).records() == writer.records()
    assert store.get(bucket, key) == data, "whoever had to read the records mends the block"


def test_a_block_of_a_ledger_that_was_made_up_is_not_believed(store: ObjectStore) -> None:
    writer, link, lines = Ledger(store, block=4), None, []
    for number in range(5):
        writer.append(draft(str(number)))
        link, data = placed(draft(f"made up {number}"), link)
        lines.append(data + b"\n")
    store.put(store.settings.artifacts_bucket, block_keys(store)[0], b"".join(lines[:4]))
    assert Ledger(store, block=4).records() == writer.records()


@pytest.mark.long
def test_ten_thousand_records_are_read_by_a_new_machine_within_a_second(store: ObjectStore, tmp_path: Path) -> None:
    ledger, before = Ledger(store), None
    rows = []
    for number in range(10_000):
        before, data = placed(draft(str(number) * 40), before)
        rows.append((before.record.serial, data))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda row: store.put_new(store.settings.ledger_bucket, key_of(row[0]), row[1]), rows))
    assert ledger.head()[0] == 10_000
    for machine in ("new", "new", "known", "known"):
        began = time.monotonic()
        assert Ledger(store, tmp_path if machine == "known" else None).state().serial == 10_000
        assert time.monotonic() - began <= 1.0, machine
    assert problems(store) == []
