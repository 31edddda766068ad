"""Kill -9, lost answers and outages at every step of a seal and a flip, and what the next command makes of it.

The command runs in a process of its own, with a toll gate before MinIO and one before MLflow: at exactly the n-th write
(or request) the process is killed, or nothing passes any more. Afterwards: alias, ledger and manifests agree, or the
next command makes them agree.
"""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from mlflow_project.ledger import audit as ledger_audit
from mlflow_project.promotion.audit import verify
from mlflow_project.promotion.repair import repair
from tests.releases.conftest import Yard
from tests.releases.toll import Before, Count, Toll

WRITES = range(1, 5)
"""Of a promote or rollback: intent, `Previous`, alias, outcome."""
SEAL = """
import sys
from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Verdict
from mlflow_project.parts import Parts
from mlflow_project.promotion.seal_release import record_verdict
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import manifest_of

parts = Parts.connect()
manifest = manifest_of(parts.registry.version(sys.argv[1], int(sys.argv[2])))
record_verdict(
    parts, release=Release(int(sys.argv[2]), manifest_digest(manifest), manifest), verdict=Verdict("accepted", ()),
    policy_digest="sha256:0", champion=None, runs={}, cases={}, who="user:gate",
)
"""


@dataclass
class Gates:
    """Both gates of one command, and the process to kill."""

    store: Toll
    registry: Toll
    count: Count
    process: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {"SWITCHYARD_S3_ENDPOINT": self.store.address, "SWITCHYARD_MLFLOW_URI": self.registry.address}

    def kill_at_write(self, number: int, when: str) -> None:
        """Kill before the n-th write reaches its server, or after it did and before its answer comes back."""

        def pass_or_kill(request: int, write: int) -> bool:
            if write == number:
                self.process[0].send_signal(signal.SIGKILL)
                self.process[0].wait()
            return write != number

        for gate in (self.store, self.registry):
            setattr(gate, when, pass_or_kill)

    def shut_from(self, gate: Toll, number: int) -> None:
        """From the n-th request of the command on, this gate's server is gone."""
        closed: Before = lambda request, write: request < number  # noqa: E731
        gate.before = closed


@contextmanager
def gates(yard: Yard) -> Iterator[Gates]:
    count = Count()
    with (
        Toll(yard.parts.store.settings.s3_endpoint, count) as store,
        Toll(yard.parts.registry.uri, count) as registry,
    ):
        yield Gates(store, registry, count)


def run(yard: Yard, gates: Gates, *arguments: str) -> tuple[int, str]:
    process = yard.command(*arguments, **gates.env)
    gates.process.append(process)
    out, err = process.communicate(timeout=90)
    return process.returncode, out + err


def assert_all_agrees(yard: Yard) -> None:
    state = yard.state
    live = state.live.get("Production")
    assert state.intent is None
    assert yard.alias() == (live.version if live else None)
    assert yard.alias("Previous") == (state.was.version if state.was else None)
    assert ledger_audit.verify(yard.parts.store).findings == ()
    if live is not None:
        assert [finding for finding in verify(yard.parts, yard.name) if not finding.ok] == []


def two_live(yard: Yard) -> tuple[int, int, int]:
    """Two versions were live one after another, a third is sealed."""
    from mlflow_project.promotion.promote import promote

    versions = []
    for number in range(3):
        versions.append(yard.sealed(str(number)))
        if number < 2:
            promote(yard.parts, yard.name, versions[-1], "Production", "user:anna")
    return versions[0], versions[1], versions[2]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", WRITES)
def test_a_promoter_killed_at_any_write_leaves_what_repair_makes_whole(yard: Yard, write: int, when: str) -> None:
    _, live, candidate = two_live(yard)
    with gates(yard) as between:
        between.kill_at_write(write, when)
        code, said = run(yard, between, "promote", yard.name, "--version", str(candidate), "--to", "Production")
    assert code == -signal.SIGKILL, said
    outcomes = [done.outcome for done in repair(yard.parts, "user:bert")]
    moved = write > 3 or (write, when) == (3, "after")
    assert yard.alias() == (candidate if moved else live)
    assert outcomes == ([] if (write, when) in {(1, "before"), (4, "after")} else ["finished" if moved else "undone"])
    assert_all_agrees(yard)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", [3, *(pytest.param(write, marks=pytest.mark.long) for write in (1, 2, 4))])
def test_after_a_killed_rollback_the_next_command_alone_is_enough(yard: Yard, write: int, when: str) -> None:
    first, _, candidate = two_live(yard)
    with gates(yard) as between:
        between.kill_at_write(write, when)
        code, said = run(yard, between, "rollback", yard.name)
    assert code == -signal.SIGKILL, said
    code, said = yard.run("promote", yard.name, "--version", str(candidate), "--to", "Production")
    if code == 0:
        assert yard.alias() == candidate
    else:
        assert (code, yard.alias()) == (4, first), said  # the rollback was finished, so the champion has changed
    assert_all_agrees(yard)


@pytest.mark.parametrize("write", WRITES)
def test_a_lost_answer_to_any_write_costs_nothing_or_is_an_outage(yard: Yard, write: int) -> None:
    _, _, candidate = two_live(yard)
    with gates(yard) as between:
        for gate in (between.store, between.registry):
            gate.after = lambda request, number: number != write
        code, said = run(yard, between, "promote", yard.name, "--version", str(candidate), "--to", "Production")
    assert code in {0, 3}, said
    repair(yard.parts, "user:bert")
    assert_all_agrees(yard)


def shut(which: str) -> Callable[[Gates], Toll]:
    return lambda between: between.store if which == "MinIO" else between.registry


@pytest.mark.parametrize("which", ["MinIO", "MLflow"])
@pytest.mark.parametrize("request_number", [4, 9, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, 20))])
def test_a_part_gone_from_any_request_on_is_exit_3_and_nothing_half_done(
    yard: Yard, which: str, request_number: int
) -> None:
    _, _, candidate = two_live(yard)
    with gates(yard) as between:
        between.shut_from(shut(which)(between), request_number)
        code, said = run(yard, between, "promote", yard.name, "--version", str(candidate), "--to", "Production")
    assert code in {0, 3}, said
    assert "Traceback" not in said
    if code == 3:
        assert "does not answer" in said or "failed on" in said or "closed the connection" in said, said
    repair(yard.parts, "user:bert")
    assert_all_agrees(yard)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", [4, *(pytest.param(write, marks=pytest.mark.long) for write in (1, 2, 3))])
def test_a_gate_killed_at_any_write_of_a_seal_can_be_asked_again(yard: Yard, write: int, when: str) -> None:
    """Manifest, its two copies for people, the seal."""
    version = yard.register()
    with gates(yard) as between:
        between.kill_at_write(write, when)
        process = yard.python(SEAL, yard.name, str(version), **between.env)
        between.process.append(process)
        assert process.wait(60) == -signal.SIGKILL
    sealed = yard.state.seals.get(version)
    assert (sealed is not None) == ((write, when) == (4, "after"))
    yard.seal(version)
    code, said = yard.run("promote", yard.name, "--version", str(version), "--to", "Production")
    assert code == 0, said
    assert_all_agrees(yard)
