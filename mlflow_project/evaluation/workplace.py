"""Prepares evaluations for the command line.

In: a command's `Parts`. Out: a `Workplace` that finds releases and the champion, and evaluates them on the same cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_project.adapters.experiments import Experiments
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.registry import Registry
from mlflow_project.adapters.retrieval.embeddings import similarity
from mlflow_project.domain.answer import Case
from mlflow_project.domain.release import Release, version_number
from mlflow_project.domain.verdict import Scores
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation import champion as champions
from mlflow_project.evaluation.asking import Plan
from mlflow_project.evaluation.compare import picture
from mlflow_project.evaluation.judge import Judge
from mlflow_project.evaluation.library_metrics import check_known, known_metrics
from mlflow_project.evaluation.opening import opening
from mlflow_project.evaluation.run import Bench, Opened, Step, evaluate, known_scores
from mlflow_project.ledger.ledger import Ledger
from mlflow_project.parts import Parts
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import manifest_of
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import ProviderSettings, load, state_folder

LEDGER_HEAD_TAG = "switchyard.ledger_head"
"""A run's tag: number and digest of the ledger's newest record when the evaluation began."""


@dataclass(frozen=True)
class Evaluated:
    """The scores of one release. `reused`: they are of an earlier run."""

    release: Release
    scores: Scores
    reused: bool


@dataclass(frozen=True)
class Workplace:
    """The parts that an evaluation uses. `against` is the champion's alias; `folder` keeps answers and indexes."""

    store: ObjectStore
    registry: Registry
    experiments: Experiments
    providers: ProviderSettings
    ledger: Ledger
    against: str
    folder: Path
    masker: Masker
    who: str

    def release(self, name: str, version: int) -> Release:
        """A version with the content that MLflow has now.

        Raises:
            NotFound: there is no such version.
        """
        manifest = manifest_of(self.registry.version(name, version))
        return Release(version, manifest_digest(manifest), manifest)

    def champion_of(self, candidate: Release) -> Release | None:
        """The champion that a candidate is compared with, as it was sealed; None if there is none, or if the candidate
        itself is live.
        """
        found = champions.champion(self.ledger, self.store, candidate.name, self.against)
        itself = found is not None and (found.version, found.digest) == (candidate.version, candidate.digest)
        return None if itself else found

    def bench(
        self, plan: Plan, source: str, library: Sequence[str] | None, step: Step, judge: str | None = None
    ) -> Bench:
        """What to evaluate with.

        Args:
            source: where the cases come from.
            library: names of metrics of the `evaluate` library; None: all.
            judge: a prompt version, as in `judge/3`.

        Raises:
            InvalidData: the judge is not named by name and number. NotFound: there is no such version or metric.
        """
        check_known(library or ())
        judging = None
        if judge is not None:
            name, _, version = judge.partition("/")
            try:
                number = version_number(version)
            except InvalidData as error:
                raise InvalidData(f"A judge is named by prompt and version, as in judge/3, not {judge!r}.") from error
            release = self.release(name, number)
            _check_priced(release, plan)
            judging = Judge(release, self._opening(release))
        answers = self.folder / "answers"
        return Bench(
            self.experiments,
            self.store,
            answers,
            plan,
            similarity=similarity,
            source=source,
            library=tuple(known_metrics() if library is None else library),
            home=self.folder / "huggingface",
            judge=judging,
            user=self.who.partition(":")[2],
            masker=self.masker,
            step=step,
        )

    def evaluated(self, release: Release, cases: Sequence[Case], bench: Bench, *, again: bool = False) -> Evaluated:
        """The release's scores on these cases: those of an earlier complete run, or new ones."""
        _check_priced(release, bench.plan)
        known = None if again else known_scores(release, cases, bench)
        if known is not None:
            return Evaluated(release, known, reused=True)
        serial, head = self.ledger.head()
        scores = evaluate(release, cases, self._opening(release), bench)
        if scores.run is not None:
            self.experiments.log(self.experiments.get(scores.run), tags={LEDGER_HEAD_TAG: f"{serial} {head}"})
        return Evaluated(release, scores, reused=False)

    def pictured(self, scores: Sequence[Scores]) -> str:
        """The address of MLflow's page for a candidate's run, or for the comparison with the champion's run. With a
        champion, pictures and a description are written into the candidate's run."""
        if len(scores) > 1:
            return picture(scores[0], scores[1], self.experiments)
        return self.experiments.address(self.experiments.get(scores[0].run or ""))

    def case_by_case(self, scores: Scores) -> str:
        """The address of MLflow's page that shows this run's cases beside those of other versions."""
        return self.experiments.case_by_case(self.experiments.get(scores.run or ""))

    def _opening(self, release: Release) -> Opened:
        return opening(release, self.store, self.folder / "indexes", self.providers, self.masker)


def workplace(parts: Parts, alias: str = "Production") -> Workplace:
    """The workplace of a command. `alias` is the champion's alias.

    Raises:
        InvalidData: there is no such alias.
    """
    champions.check_known(alias)
    return Workplace(
        parts.store,
        parts.registry,
        parts.experiments,
        load(ProviderSettings),
        parts.ledger,
        alias,
        state_folder() / "evaluation",
        parts.masker,
        parts.who,
    )


def _check_priced(release: Release, plan: Plan) -> None:
    """Check that the cost of a release can be counted, if there is a budget.

    Raises:
        InvalidData: the release asks a provider that costs money, and pins no prices.
    """
    manifest = release.manifest
    free = manifest.provider is None or manifest.provider.name == "extractive"
    if plan.purse.budget is not None and manifest.prices is None and not free:
        raise InvalidData(
            f"{release.label} pins no prices, so nobody can tell when the budget is spent. Add `prices` to its "
            "template and register it again, or leave --budget out."
        )
