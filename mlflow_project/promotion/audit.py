"""Recompute everything that a live release rests on: alias, seal, key, scores, manifest, MLflow's content, index.

In: a name, or one of its aliases. Out: one finding a check; nothing is changed, and what cannot be read is a finding
too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlflow_project.adapters.evidence import REPLAY, SCORES, kept_scores
from mlflow_project.adapters.model_files import fetch_sealed
from mlflow_project.adapters.releases import read_manifest
from mlflow_project.domain.reference import Reference
from mlflow_project.errors import InvalidData, NotFound, Refused, SealBroken
from mlflow_project.ledger import LiveVersion, NameState, Seal
from mlflow_project.parts import Parts
from mlflow_project.promotion.sealed import check_same, checked_statement
from mlflow_project.rules.canonical import digest
from mlflow_project.rules.content import manifest_of


@dataclass(frozen=True)
class Finding:
    """One check of one release."""

    name: str
    alias: str
    version: int | None
    check: str
    ok: bool
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def verify(parts: Parts, name: str, alias: str | None = None, version: int | None = None) -> list[Finding]:
    """Run all checks of what is live under a name: under all its aliases, under one, or of one version.

    Raises:
        NotFound: nothing of that is live. Unavailable: a service cannot be reached.
    """
    state = parts.ledger.state().of(name)
    wanted = [alias] if alias is not None else sorted(state.live)
    if version is not None:
        wanted = [each for each in wanted if each in state.live and state.live[each].version == version]
    if not wanted or any(each not in state.live for each in wanted):
        raise NotFound(f"Nothing is live as {Reference(name, version, alias)}. `switchyard list` shows what exists.")
    entry = parts.registry.entry(name)
    aliases = entry.aliases if entry is not None else {}
    audits = [_Audit(parts, state, each, state.live[each]) for each in wanted]
    return [finding for audit in audits for finding in audit.findings(aliases.get(audit.alias))]


def verify_all(parts: Parts) -> list[Finding]:
    """All checks of everything that is live."""
    return [
        finding for state in parts.ledger.state().names.values() if state.live for finding in verify(parts, state.name)
    ]


def verify_release(parts: Parts, state: NameState, release: LiveVersion) -> Iterator[Finding]:
    """All checks but that of the alias, of a release that is live or was live once."""
    yield from _Audit(parts, state, "", release).sealed_findings()


class _Audit:
    def __init__(self, parts: Parts, state: NameState, alias: str, live: LiveVersion) -> None:
        self._parts = parts
        self._state = state
        self.alias = alias
        self._live = live

    def findings(self, pointed: int | None) -> Iterator[Finding]:
        """Check by check. `pointed` is the version at which the alias points in MLflow."""
        yield self._check("alias", lambda: self._alias_agrees(pointed))
        yield from self.sealed_findings()

    def sealed_findings(self) -> Iterator[Finding]:
        """The checks that need a seal, where there is one."""
        seal = self._state.seal_of(self._live)
        if seal is None:
            yield self._finding("seal", False, "the ledger holds no seal for it")
            return
        yield self._check("seal", lambda: self._seal_holds(seal))
        yield self._check("scores", lambda: self._scores_hold(seal))
        yield self._check("manifest", lambda: self._manifest_holds(seal))
        yield self._check("content in MLflow", lambda: self._content_same(seal))
        yield self._check("index", lambda: self._index_there(seal))
        if self._state.kind == "model":
            yield self._check("files", lambda: self._files_there(seal))

    def _alias_agrees(self, pointed: int | None) -> str:
        if pointed != self._live.version:
            now = f"at {pointed}" if pointed is not None else "nowhere"
            raise Refused(f"version {self._live.version} is live according to the ledger, but the alias points {now}")
        return f"points at {pointed}, as the record says (since {self._live.since}, by {self._live.who})"

    def _seal_holds(self, seal: Seal) -> str:
        statement = checked_statement(self._parts, self._state.name, seal)
        return f"signed by a trusted key; sealed {statement.sealed_at} by {statement.sealed_by}, record {seal.serial}"

    def _scores_hold(self, seal: Seal) -> str:
        predicate = checked_statement(self._parts, self._state.name, seal).predicate
        sealed = {role: wanted for role, wanted in predicate.get("scores", {}).items() if wanted is not None}
        findings = [self._file_of(role, predicate["runs"][role], wanted, SCORES) for role, wanted in sealed.items()]
        replay = predicate.get("replay")
        findings += [self._file_of("replay", replay["run"], replay["digest"], REPLAY)] if replay is not None else []
        return "; ".join(findings) or "the seal is older than the binding of scores"

    def _file_of(self, role: str, run: str, wanted: str, file: str) -> str:
        """A file of one run, as it was kept and as MLflow shows it, against the digest in the seal."""
        if digest(kept_scores(self._parts.store, run, file)) != wanted:
            raise SealBroken(f"the kept {file} of the {role}'s run {run} is not what the gate judged")
        experiments = self._parts.experiments
        try:
            shown = experiments.read(experiments.get(run), file)
        except NotFound:
            return f"{role}: {wanted[:19]}, kept; its run {run} is gone from MLflow"
        if digest(shown) != wanted:
            raise SealBroken(f"{file} of the {role}'s run {run} was edited in MLflow after the gate judged it")
        return f"{role}: {wanted[:19]}"

    def _manifest_holds(self, seal: Seal) -> str:
        read_manifest(self._parts.store, seal.digest)
        return seal.digest

    def _content_same(self, seal: Seal) -> str:
        label = f"{self._state.name}/{seal.version}"
        try:
            present = manifest_of(self._parts.registry.version(self._state.name, seal.version))
        except (NotFound, InvalidData) as error:
            raise SealBroken(str(error)) from error
        check_same(label, read_manifest(self._parts.store, seal.digest), present)
        return "equal to what was sealed"

    def _index_there(self, seal: Seal) -> str:
        base = read_manifest(self._parts.store, seal.digest).knowledge_base
        if base is None:
            return "needs none"
        from mlflow_project.adapters.retrieval import index_store

        index_store.manifest_of(self._parts.store, base.index)
        return f"{base.table} at version {base.delta_version}: {base.index}"

    def _files_there(self, seal: Seal) -> str:
        manifest = read_manifest(self._parts.store, seal.digest)
        with tempfile.TemporaryDirectory(prefix="switchyard-verify-") as folder:
            fetch_sealed(self._parts.store, manifest, seal.digest, Path(folder))
        return f"{len(manifest.files or ())} files, each as it was sealed"

    def _check(self, check: str, run: Callable[[], str]) -> Finding:
        try:
            return self._finding(check, True, run())
        except (Refused, NotFound, InvalidData) as error:
            return self._finding(check, False, str(error))

    def _finding(self, check: str, ok: bool, detail: str) -> Finding:
        return Finding(self._state.name, self.alias, self._live.version, check, ok, detail)
