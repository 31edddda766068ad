"""Runs the guard: one leader by lease watches; the others wait. Ends on SIGTERM.

A look reads the ledger if something has changed, then the counts of what is to be watched, and acts. With nothing to
watch, a look is one `stat` of this host's snapshot, and one small request to the store every few seconds. The lease is
checked before each action and each word that is kept, so a guard that was paused and wakes does nothing any more.
"""

from __future__ import annotations

import logging
import signal
import threading
import time

from mlflow_project.adapters.lease import Lease
from mlflow_project.errors import Refused, WorkspaceError
from mlflow_project.guard.acting import act, old_release_answers
from mlflow_project.guard.deciding import STATES, Decision, decide
from mlflow_project.guard.subjects import Subject, subjects
from mlflow_project.guard.traffic import Traffic
from mlflow_project.guard.watching import Observation, begin, keep, load
from mlflow_project.guard.words import RENEW_SECONDS, word
from mlflow_project.identity import Identity
from mlflow_project.parts import Parts
from mlflow_project.rules.guard.judge import Judgement
from mlflow_project.settings import TelemetrySettings
from mlflow_project.settings import load as load_settings
from mlflow_project.snapshot.folder import stamp
from mlflow_project.snapshot.guard_file import WRITE_SECONDS, say_guard_looks
from mlflow_project.telemetry.catalogue import GUARD_ACTIONS, GUARD_LOOKED, GUARD_SHARE, GUARD_STATE
from mlflow_project.telemetry.sending import start

logger = logging.getLogger(__name__)

LEASE = "the guard of rollouts"
LEASE_SECONDS = 10.0
LOOK_SECONDS = 0.5
QUIET_SECONDS, QUIET_AFTER_SECONDS = 2.0, 20.0
"""The pause between two looks while what is watched has had no requests for so long."""
LEDGER_SECONDS = 3.0
"""How often the ledger is asked for news where this host's snapshot does not show them."""
WHOLE_SECONDS = 30.0
"""How often the ledger is read with or without news."""
KEEP_SECONDS = 2.0
RETRY_SECONDS = 15.0
"""How long the guard waits after an action that was refused, before it decides anew."""


def run_guard() -> None:
    """Run until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    parts = Parts.connect(acting=Identity("guard"))
    sender = start(parts.meters, load_settings(TelemetrySettings), "switchyard-guard")
    while not stop.is_set():
        say_guard_looks(parts.serving, leads=False)
        lead(parts, stop)
        stop.wait(LEASE_SECONDS / 5)
    if sender is not None:
        sender.close()


def lead(parts: Parts, stop: threading.Event) -> None:
    """Watch while this guard has the lease. Returns when it has not, or when a service does not answer."""
    try:
        with Lease(parts.store, LEASE, ttl=LEASE_SECONDS) as lease:
            logger.info("this guard watches now")
            guard = Guard(parts, lease)
            while not stop.is_set():
                guard.look()
                stop.wait(guard.pause())
    except Refused as error:
        logger.debug("another guard watches", extra={"why": str(error)})
    except WorkspaceError as error:
        logger.warning("the guard cannot read, so no step is taken", extra={"error": str(error)})


class Guard:
    """The leader: what it watches, and what it knows of each subject."""

    def __init__(self, parts: Parts, lease: Lease) -> None:
        self._parts, self._lease = parts, lease
        self._traffic = Traffic(parts.store)
        self._subjects: dict[str, Subject] = {}
        self._known: dict[str, Observation] = {}
        self._kept: dict[str, tuple[float, str]] = {}
        self._retry_at: dict[str, float] = {}
        self._shown: set[str] = set()
        self._snapshot: tuple[int, int] | None = None
        self._asked_at = self._read_at = self._said_at = 0.0

    def look(self) -> None:
        """Look once, and act on what is found.

        Raises:
            Unavailable: the store does not answer. Refused: the lease is lost.
        """
        self._lease.check()
        if self._has_news():
            self._subjects = {each.name: each for each in subjects(self._parts.ledger)}
            self._forget()
        if self._subjects:
            self._traffic.read()
        for subject in list(self._subjects.values()):
            self._watch(subject)
        self._parts.meters.record(GUARD_LOOKED, time.time())
        if time.monotonic() - self._said_at >= WRITE_SECONDS:
            self._said_at = time.monotonic()
            say_guard_looks(self._parts.serving, leads=True)

    def pause(self) -> float:
        """Seconds until the next look: longer while nothing that is watched has traffic."""
        newest = max((each.counted_at for each in self._known.values()), default=0.0)
        quiet = bool(self._subjects) and time.monotonic() - newest > QUIET_AFTER_SECONDS
        return QUIET_SECONDS if quiet else LOOK_SECONDS

    def _has_news(self) -> bool:
        """Whether the ledger has to be read: this host's snapshot has changed, or the ledger has a new record, or the
        last reading is old."""
        now, seen = time.monotonic(), stamp(self._parts.serving.snapshot_file)
        moved, self._snapshot = seen != self._snapshot, seen
        if not moved and now - self._read_at < WHOLE_SECONDS:
            if now - self._asked_at < (LOOK_SECONDS if self._subjects else LEDGER_SECONDS):
                return False
            self._asked_at = now
            if not self._parts.ledger.has_news():
                return False
        self._asked_at = self._read_at = now
        return True

    def _watch(self, subject: Subject) -> None:
        if subject.until is not None and time.time() > subject.until:
            del self._subjects[subject.name]
            self._forget()
            return
        observation = self._observation(subject)
        judgement = observation.look(subject, self._traffic)
        self._show_numbers(subject, judgement)
        decision = decide(subject, judgement, observation.recent_old(), time.time())
        if decision.action != "wait" and time.monotonic() >= self._retry_at.get(subject.key, 0.0):
            decision = self._act(subject, decision, judgement)
        elif decision.action != "wait":
            state = observation.word.get("state", "stuck")
            decision = Decision("wait", state, str(observation.word.get("sentence", decision.why)))
        observation.word = word(subject, decision.state, decision.why, judgement)
        self._show(subject.name, decision.state)
        self._keep(subject, observation, decision)

    def _act(self, subject: Subject, decision: Decision, judgement: Judgement) -> Decision:
        """Act, and return what became of the decision."""
        self._retry_at[subject.key] = time.monotonic() + RETRY_SECONDS
        errors = any(each.indicator == "errors" and each.answer == "harm" for each in judgement.findings)
        try:
            if decision.action == "rollback" and errors and not old_release_answers(self._parts, subject):
                why = f"The provider of {subject.name}/{subject.old} fails too, so nothing is moved. {decision.why}"
                return Decision("wait", "old_release_fails", why)
            self._lease.check()
            serial = act(self._parts, subject, decision, judgement)
        except WorkspaceError as error:
            self._lease.check()
            logger.error("the guard's action did not succeed", extra={"prompt": subject.name, "error": str(error)})
            self._read_at = 0.0
            return Decision("wait", "stuck", f"{decision.why} But it did not succeed: {error}")
        self._retry_at.pop(subject.key, None)
        self._read_at = 0.0
        about = {"release": subject.label, "did": decision.action, "record": serial, "why": decision.why}
        logger.warning("the guard has acted", extra=about)
        self._parts.meters.record(GUARD_ACTIONS, 1, release=subject.label, action=decision.action)
        return decision

    def _observation(self, subject: Subject) -> Observation:
        known = self._known.get(subject.name)
        if known is None or known.key != subject.key:
            known = load(self._parts.store, subject) or begin(subject, self._traffic)
            for action in ("abort", "rollback"):  # Prometheus sees no increase in a series that begins at 1
                self._parts.meters.record(GUARD_ACTIONS, 0, release=subject.label, action=action)
            self._known[subject.name] = known
        return known

    def _keep(self, subject: Subject, observation: Observation, decision: Decision) -> None:
        """Keep the evidence every few seconds, and at once when the state changes."""
        at, state = self._kept.get(subject.key, (0.0, ""))
        now = time.monotonic()
        pause = KEEP_SECONDS if observation.has_changed else RENEW_SECONDS
        if state == decision.state and now - at < pause:
            return
        self._lease.check()
        keep(self._parts.store, subject.name, observation)
        observation.has_changed = False
        self._kept[subject.key] = (now, decision.state)

    def _show(self, name: str, state: str) -> None:
        self._shown.add(name)
        for each in STATES:
            self._parts.meters.record(GUARD_STATE, float(each == state), name=name, state=each)

    def _show_numbers(self, subject: Subject, judgement: Judgement) -> None:
        for found in judgement.findings:
            for side, rate in (("new", found.new_rate), ("before", found.old_rate)):
                if rate is not None:
                    about = {"release": subject.label, "indicator": found.indicator, "side": side}
                    self._parts.meters.record(GUARD_SHARE, rate, **about)

    def _forget(self) -> None:
        """Drop what is no longer watched, and show no state of it any more."""
        for name in self._shown - set(self._subjects):
            self._show(name, "")
            self._shown.discard(name)
        self._known = {name: each for name, each in self._known.items() if name in self._subjects}
        keys = {each.key for each in self._subjects.values()}
        self._kept = {key: each for key, each in self._kept.items() if key in keys}
        self._retry_at = {key: each for key, each in self._retry_at.items() if key in keys}
