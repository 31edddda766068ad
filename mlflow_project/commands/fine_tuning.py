"""`switchyard fine-tune`: train a model on an exported set, and register a prompt version that uses it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlflow_project.commands.arguments import Text, amount, read_reference, version_of, whole_number
from mlflow_project.commands.output import Json, emit, progress, reports_errors
from mlflow_project.domain.reference import Reference
from mlflow_project.errors import InvalidData, Refused

if TYPE_CHECKING:
    from mlflow_project.adapters.registry import Registry
    from mlflow_project.adapters.tuning_api import TuningJob
    from mlflow_project.fine_tuning.examples import ExampleSet
    from mlflow_project.fine_tuning.tune import Tuning


@dataclass(frozen=True)
class Estimate:
    """What training will cost. `tokens` are those of one epoch times the epochs; `usd` is None without a price."""

    examples: int
    tokens: int
    usd: float | None


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fine-tune")(fine_tune)


@reports_errors
def fine_tune(
    source: Annotated[Text, typer.Argument(metavar="SET", parser=str, help="A folder of export_fine_tuning.py.")],
    model: Annotated[str, typer.Option(metavar="MODEL", help="The base model's name at the provider.")],
    prompt: Annotated[
        Reference | None,
        typer.Option("--for", metavar="NAME/N", parser=read_reference, help="Make a version like this one, tuned."),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="An endpoint of providers.yaml; else LLM_API_URL is asked.")
    ] = None,
    epochs: Annotated[int, typer.Option(metavar="N", parser=whole_number(1), help="Passes over the set.")] = 3,
    usd_per_million: Annotated[
        float | None, typer.Option(metavar="USD", parser=amount, help="The provider's price of a million tokens.")
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option(metavar="USD", parser=amount, help="Submit, if the estimate is not above this.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the provider has trained the model.")] = True,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the job of this set and model.")] = False,
    json: Json = False,
) -> None:
    """Train a model at the provider, and register a version that uses it.

    Without --max-usd it estimates the cost and submits nothing. The same command continues after a crash. The new
    version goes through evaluate and gate like any other.
    """
    from mlflow_project.adapters.experiments import Experiments
    from mlflow_project.adapters.object_store import ObjectStore
    from mlflow_project.adapters.providers.endpoints import Endpoints
    from mlflow_project.adapters.registry import Registry
    from mlflow_project.adapters.tuning_api import TuningApi
    from mlflow_project.fine_tuning.examples import read_set
    from mlflow_project.fine_tuning.tune import Tuning, TuningRequest
    from mlflow_project.rules.masking import Masker
    from mlflow_project.settings import LogSettings, ProviderSettings, RegistrySettings, StoreSettings, load

    registry, examples = Registry(load(RegistrySettings)), read_set(source, ObjectStore(load(StoreSettings)))
    base = None if prompt is None else (prompt.name, version_of(prompt, None, registry))
    estimate = _estimate(examples, epochs, usd_per_million)
    if not cancel and max_usd is None:
        words = f"{_words(estimate)}\nNothing was submitted. Add --usd-per-million and --max-usd to submit."
        emit({"estimate": asdict(estimate), "job": None}, json, lambda console: console.print(words))
        return
    _check_cost(estimate, max_usd)
    api = TuningApi(Endpoints(load(ProviderSettings)).get(endpoint), Masker(load(LogSettings).mask_patterns))
    request = TuningRequest(examples, model, epochs, prompt.name if prompt else "switchyard")
    tuning = Tuning(api, Experiments(load(RegistrySettings)), request)
    job = tuning.cancel() if cancel else _submitted(tuning, estimate, wait)
    data: dict[str, Any] = {"estimate": asdict(estimate), "job": asdict(job), "run": tuning.run.id, "registered": None}
    if not cancel and job.is_over:
        data["registered"] = _registered(tuning, job, base, endpoint, registry)
    emit(data, json, lambda console: console.print(_outcome(data, tuning.address), markup=False, soft_wrap=True))


def _estimate(examples: ExampleSet, epochs: int, usd_per_million: float | None) -> Estimate:
    from mlflow_project.adapters.retrieval.embeddings import count_tokens as of_text
    from mlflow_project.fine_tuning.examples import count_tokens

    tokens = epochs * count_tokens(examples.train, of_text)
    usd = None if usd_per_million is None else round(tokens * usd_per_million / 1_000_000, 4)
    return Estimate(examples.examples, tokens, usd)


def _check_cost(estimate: Estimate, max_usd: float | None) -> None:
    if max_usd is None:
        return
    if estimate.usd is None:
        raise InvalidData("--max-usd needs the provider's price: give --usd-per-million, which may be 0.")
    if estimate.usd > max_usd:
        raise Refused(
            f"Training would cost about {estimate.usd} USD, more than the {max_usd} that you allow. Nothing was "
            "submitted."
        )


def _submitted(tuning: Tuning, estimate: Estimate, wait: bool) -> TuningJob:
    progress.print(_words(estimate), soft_wrap=True)
    job = tuning.submit()
    progress.print(f"Job {job.id}: {job.status}. The run: {tuning.address}", soft_wrap=True)
    if not wait:
        return job
    return tuning.wait(job, lambda now: progress.print(f"Job {now.id}: {now.status} ...", soft_wrap=True))


def _registered(
    tuning: Tuning, job: TuningJob, base: tuple[str, int] | None, endpoint: str | None, registry: Registry
) -> dict[str, Any] | None:
    from mlflow_project.fine_tuning.adopt import adopt

    tuned = tuning.finish(job)
    return None if base is None else asdict(adopt(registry, *base, tuned, endpoint))


def _words(estimate: Estimate) -> str:
    cost = "the price is unknown (--usd-per-million)" if estimate.usd is None else f"about {estimate.usd} USD"
    return f"{estimate.examples} examples, about {estimate.tokens} tokens in all epochs: {cost}."


def _outcome(data: dict[str, Any], address: str) -> str:
    job, registered = data["job"], data["registered"]
    lines = [f"Job {job['id']}: {job['status']}", f"Run: {address}"]
    if job["tuned_model"]:
        lines.append(f"Tuned model: {job['tuned_model']}")
    if registered:
        label = f"{registered['name']}/{registered['version']}"
        lines += [f"Registered: {label} (alias Candidate). Next: switchyard evaluate {label}"]
    return "\n".join(lines)
