"""Prepares evaluations for the command line.

In: a command's `Parts`. Out: a `Workplace` that finds releases and the champion, and evaluates them on the same cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_project.adapters.experiments import Experiments
from mlflow_project.adapters.model_files import LoggedModels, current_release, fetch_sealed
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.registry import Registry
from mlflow_project.adapters.retrieval.embeddings import similarity
from mlflow_project.domain.answer import Case
from mlflow_project.domain.model import Loading
from mlflow_project.domain.release import Release, version_number
from mlflow_project.domain.verdict import Scores
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation import champion as champions
from mlflow_project.evaluation.asking import Plan
from mlflow_project.evaluation.compare import picture
from mlflow_project.evaluation.explanation import Explanation, explain
from mlflow_project.evaluation.held_out import HeldOut, load_held_out
from mlflow_project.evaluation.judge import Judge
from mlflow_project.evaluation.library_metrics import check_known, known_metrics
from mlflow_project.evaluation.model_run import evaluate_model, known_model_scores
from mlflow_project.evaluation.opening import opening
from mlflow_project.evaluation.run import Bench, Opened, Step, evaluate, known_scores
from mlflow_project.ledger.ledger import Ledger
from mlflow_project.models.loading import MOST_BYTES, Model, load_model
from mlflow_project.models.trial import try_model
from mlflow_project.parts import Parts
from mlflow_project.rules.masking import Masker
from mlflow_project.seal.keys import load_trusted
from mlflow_project.seal.seal import verify
from mlflow_project.settings import ModelSettings, ProviderSettings, load, state_folder

LEDGER_HEAD_TAG = "switchyard.ledger_head"
"""A run's tag: number and digest of the ledger's newest record when the evaluation began."""
_SECONDS_TO_TRY = 120.0


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
    models: LoggedModels
    experiments: Experiments
    providers: ProviderSettings
    ledger: Ledger
    against: str
    folder: Path
    masker: Masker
    who: str
    trusted_keys: Path

    def release(self, name: str, version: int) -> Release:
        """A version with the content that MLflow has now. A model version that was never looked at gets the tags that
        describe it.

        Raises:
            NotFound: there is no such version.
        """
        return current_release(self.registry, self.models, name, version)

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
            check_priced(release, plan)
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
        check_priced(release, bench.plan)
        known = None if again else known_scores(release, cases, bench)
        if known is not None:
            return Evaluated(release, known, reused=True)
        serial, head = self.ledger.head()
        with bench.step(f"{release.label}: getting ready"):
            opened = self._opening(release)
        scores = evaluate(release, cases, opened, bench)
        if scores.run is not None:
            self.experiments.log(self.experiments.get(scores.run), tags={LEDGER_HEAD_TAG: f"{serial} {head}"})
        return Evaluated(release, scores, reused=False)

    def held_out(self, candidate: Release, source: str | None = None) -> HeldOut:
        """The test set of a model: the one that its version names, unless there is another source.

        Raises:
            InvalidData: the version names no test set or no label.
        """
        described = candidate.manifest.model
        if described is None or described.label is None:
            raise InvalidData(f"{candidate.label} names no label: set the tag switchyard.label when it is registered.")
        if source is None:
            if described.test_table is None or described.test_version is None:
                raise InvalidData(
                    f"{candidate.label} names no test set (tags switchyard.test_table and switchyard.test_version): "
                    "name one with --cases, as in --cases s3a://curated-data-bucket/fraud_test@3."
                )
            source = f"{described.test_table}@{described.test_version}"
        return load_held_out(source, described.label)

    def evaluated_model(
        self, release: Release, held_out: HeldOut, bench: Bench, loading: Loading | None, *, again: bool = False
    ) -> Evaluated:
        """The scores of a model on these rows: those of an earlier complete run, or new ones.

        Args:
            loading: what the policy allows when the candidate's files are loaded; None for a champion, whose seal says
                it.
        """
        known = None if again else known_model_scores(release, held_out, bench)
        if known is not None:
            return Evaluated(release, known, reused=True)
        serial, head = self.ledger.head()
        with bench.step(f"{release.label}: loading the model"):
            model = self._loaded(release, loading)
        scores = evaluate_model(release, model, held_out, bench)
        if scores.run is not None:
            self.experiments.log(self.experiments.get(scores.run), tags={LEDGER_HEAD_TAG: f"{serial} {head}"})
        return Evaluated(release, scores, reused=False)

    def explained(self, done: Evaluated, held_out: HeldOut, bench: Bench, loading: Loading | None) -> Explanation:
        """How much each feature moves a model's predictions, logged to the run of its scores. `loading` as above."""
        release = done.release
        with bench.step(f"{release.label}: explaining"):
            model = self._loaded(release, loading)
            return explain(model, held_out, self.experiments.get(done.scores.run or ""), self.experiments)

    def _loaded(self, release: Release, loading: Loading | None) -> Model:
        """A candidate from the files in MLflow, a champion from its sealed copies.

        Another process loads a candidate first, so that a hostile file ends that process and not the evaluation. A
        champion was a candidate before.
        """
        folder = self.folder / "models"
        if loading is not None:
            path = self.models.fetch(release, folder)
            if load(ModelSettings).model_trial:
                try_model(path, release.manifest, loading, MOST_BYTES, _SECONDS_TO_TRY)
            return load_model(path, release.manifest, loading)
        seal = self.ledger.state().of(release.name).seals[release.version]
        stated = verify(seal.envelope, load_trusted(self.trusted_keys), seal.recorded)
        path = fetch_sealed(self.store, release.manifest, release.digest, folder)
        return load_model(path, release.manifest, stated.loading)

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
        parts.models,
        parts.experiments,
        load(ProviderSettings),
        parts.ledger,
        alias,
        state_folder() / "evaluation",
        parts.masker,
        parts.who,
        parts.seal.trusted_keys,
    )


def check_priced(release: Release, plan: Plan) -> None:
    """Check that the cost of a release's answers can be counted, if there is a budget.

    Raises:
        InvalidData: the release asks a provider that costs money, and pins no prices.
    """
    manifest = release.manifest
    free = manifest.provider is None or manifest.provider.name in {"extractive", "lexicon"}
    if plan.purse.budget is not None and manifest.prices is None and not free:
        raise InvalidData(
            f"{release.label} pins no prices, so nobody can tell when the budget is spent. Add `prices` to its "
            "template and register it again, or leave --budget out."
        )
