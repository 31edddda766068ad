"""Flips under attack, under load, and cut off: what an attacker or an accident gets, and what is left behind."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mlflow_project.api_keys import KeyFile
from mlflow_project.domain.receipt import Presence, Receipt
from mlflow_project.errors import Refused, SealBroken
from mlflow_project.ledger import Draft
from mlflow_project.parts import Parts
from mlflow_project.promotion.approve import approve
from mlflow_project.promotion.audit import verify
from mlflow_project.promotion.hosts import presences
from mlflow_project.promotion.promote import promote
from mlflow_project.promotion.receipts import live_workers
from mlflow_project.promotion.reconcile import reconcile
from mlflow_project.promotion.repair import repair
from mlflow_project.promotion.views import live
from mlflow_project.seal import keys
from mlflow_project.settings import SealSettings
from tests.releases.conftest import Yard
from tests.releases.test_crashes import assert_all_agrees, two_live
from tests.releases.test_receipts import served, wait_for
from tests.releases.test_watching import live as followed
from tests.releases.test_watching import watcher

ANNA = "user:anna"


@pytest.fixture
def whole(stack: Any) -> Iterator[Yard]:
    """The stack's own ledger and workers, and a prompt name that nobody else has."""
    parts = Parts.connect()
    wait_for(lambda: bool(live_workers(presences(parts.store))))
    yield Yard(parts, f"qa-{uuid4().hex[:8]}", {})
    parts.registry.close()


def test_forged_receipts_of_a_real_worker_make_a_flip_report_too_much_for_seconds_and_serve_nothing_else(
    whole: Yard,
) -> None:
    """He writes to the coordination bucket, in the name of a worker that hangs, that it serves the new release.

    He gets a flip that believes him; a receipt is a report and no proof. What is served stays what was sealed, and a
    moment after he stops, `live` counts only what the worker itself says."""
    first, second = whole.sealed("1 {{question}}"), whole.register("2 {{question}}")
    promote(whole.parts, whole.name, first, "Production", ANNA)
    whole.seal(second)
    (worker,) = live_workers(presences(whole.parts.store))
    os.kill(int(worker.rsplit("-", 1)[1]), signal.SIGSTOP)
    try:
        with forged_receipts(whole, worker, second):
            done = promote(whole.parts, whole.name, second, "Production", ANNA)
        assert done.receipts.missing == ()
        wait_for(lambda: not serving(whole), 10)
    finally:
        os.kill(int(worker.rsplit("-", 1)[1]), signal.SIGCONT)
    wait_for(lambda: served(whole) == second and serving(whole))
    assert [finding.detail for finding in verify(whole.parts, whole.name) if not finding.ok] == []


def serving(yard: Yard) -> bool:
    """Whether some worker says that it serves what is live."""
    return any(row.serving for row in live(yard.parts) if row.name == yard.name)


@contextmanager
def forged_receipts(yard: Yard, worker: str, version: int) -> Iterator[None]:
    """Keep writing over the host's presence that the worker has this release warm and serves it."""
    store, stop = yard.parts.store, threading.Event()
    (host,) = [each for each in presences(store) if worker in each.workers]
    release = yard.release(version)
    receipts = tuple(
        Receipt(worker, "prompt", yard.name, "Production", version, release.digest, state, "2026-11-30T12:00:00.000Z")
        for state in ("warm", "serving")
    )
    data = json.dumps(Presence(host.host, time.time() + 60, (worker,), receipts).to_dict()).encode()

    def write() -> None:
        while not stop.wait(0.005):
            store.put(store.settings.coordination_bucket, f"hosts/{host.host}.json", data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.long
def test_of_two_promotes_at_once_on_a_busy_machine_one_wins_and_another_name_is_not_held_up(yard: Yard) -> None:
    """Four programs compute on every core; three commands start at the same moment, two of them for one name."""
    versions, other = [yard.sealed("1"), yard.sealed("2")], replace(yard, name=f"{yard.name}-other")
    theirs = other.sealed("3")
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        asked = [("promote", yard.name, "--version", str(version), "--to", "Production") for version in versions]
        asked.append(("promote", other.name, "--version", str(theirs), "--to", "Production"))
        processes = [yard.command(*words) for words in asked]
        ended = [(process.communicate(timeout=120), process.returncode) for process in processes]
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    codes = [code for _, code in ended]
    assert sorted(codes[:2]) == [0, 4], ended
    assert codes[2] == 0, ended
    assert yard.alias() == versions[codes.index(0)]
    assert not any("Traceback" in text for said, _ in ended for text in said)
    assert_all_agrees(yard)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_a_promote_killed_at_a_random_moment_after_its_intent_is_finished_or_undone(yard: Yard, seed: int) -> None:
    _, before, candidate = two_live(yard)
    process = yard.command("promote", yard.name, "--version", str(candidate), "--to", "Production")
    wait_for(lambda: yard.state.intent is not None or process.poll() is not None, 60)
    time.sleep(random.Random(seed).uniform(0, 0.15))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    repair(yard.parts, "user:bert")
    assert yard.alias() in {before, candidate}
    assert_all_agrees(yard)


@pytest.fixture
def protected(yard: Yard, tmp_path: Path) -> Yard:
    """A yard with a gate's key of its own, whose prompt is protected; version 1 is live, version 2 is sealed."""
    own = SealSettings(signing_key=tmp_path / "gate.pem", trusted_keys=tmp_path / "trusted")
    yard = replace(yard, parts=replace(yard.parts, seal=own))
    for text in ("1", "2"):
        version = yard.register(text)
        yard.seal(version, protected=True)
        if version == 1:
            approve(yard.parts, yard.name, version, "key:bert")
            promote(yard.parts, yard.name, version, "Production", "key:anna")
    return yard


def test_an_approval_does_not_help_a_seal_whose_key_was_retired_before(protected: Yard) -> None:
    """He has a gate's key that was retired, and an approval of his release by somebody else."""
    parts = protected.parts
    note = parts.seal.trusted_keys / f"{keys.ensure_key(parts.seal)}.retired"
    note.write_text(protected.state.live["Production"].since)
    third = protected.register("3")
    protected.seal(third, protected=True)
    approve(parts, protected.name, third, "key:bert")
    with pytest.raises(SealBroken, match="retired"):
        promote(parts, protected.name, third, "Production", "key:anna")
    assert protected.alias() == 1


def test_an_approval_is_for_one_content_of_one_version_by_another_person(protected: Yard) -> None:
    """He has approvals of other versions, his own, and one by a person without a key."""
    parts, name = protected.parts, protected.name
    digest = protected.release(1).digest
    for who, version, of in (
        ("key:bert", 1, digest),
        ("key:bert", 2, digest),
        ("user:root", 2, None),
        ("key:anna", 2, None),
    ):
        parts.ledger.append(Draft("approval", "prompt", name, who, "", version, of or protected.release(2).digest))
    with pytest.raises(Refused, match="somebody other than"):
        promote(parts, name, 2, "Production", "key:anna")
    with pytest.raises(Refused, match="promote it with an API key"):
        promote(parts, name, 2, "Production", ANNA)


def test_a_hand_on_the_alias_of_a_protected_prompt_is_not_followed_with_an_approval_either(
    protected: Yard, tmp_path: Path
) -> None:
    """He may write to MLflow, and his version is sealed and approved."""
    approve(protected.parts, protected.name, 2, "key:bert")
    protected.parts.registry.set_alias(protected.name, "Production", 2)
    follower = watcher(protected, tmp_path / "serving")
    for _ in range(2):
        follower.look(hurry=True)
    assert followed(follower).get(protected.name) in {1, None}
    (correction,) = reconcile(protected.parts, protected.name, ANNA)
    assert (correction.now, correction.followed) == (1, False)


def test_a_revoked_api_key_neither_approves_nor_promotes(protected: Yard, tmp_path: Path) -> None:
    """He has an API key that was revoked a moment ago."""
    file = KeyFile(tmp_path / "keys.json")
    text, key = file.create("bert", ("call",))
    env = {
        "SWITCHYARD_API_KEYS_FILE": str(file.path),
        "SWITCHYARD_API_KEY": text,
        "SWITCHYARD_TRUSTED_KEYS": str(protected.parts.seal.trusted_keys),
    }
    file.revoke(key.id)
    number = ("--version", "2")
    for command in (("approve", protected.name, *number), ("promote", protected.name, *number, "--to", "Production")):
        code, said = protected.run(*command, **env)
        assert (code, "is not a valid key" in said) == (4, True), said
    assert protected.alias() == 1
