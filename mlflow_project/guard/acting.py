"""Does what the guard has decided: takes a step, holds or aborts a rollout, rolls a promotion back.

In: a decision. Out: the receipts are the flip's own; the record in the ledger has the guard's evidence. Each action is
refused if the ledger has moved on since the decision, so of two guards one acts. Before a rollback after a promotion
that brought errors, the guard asks the provider of the old release: while that fails too, nothing is moved.
"""

from __future__ import annotations

import asyncio
import logging

from mlflow_project.adapters.providers import Providers
from mlflow_project.adapters.providers.protocol import ProviderRequest
from mlflow_project.adapters.releases import read_manifest
from mlflow_project.domain.release import Message, ProviderChoice
from mlflow_project.errors import WorkspaceError
from mlflow_project.guard.deciding import Decision
from mlflow_project.guard.subjects import Subject
from mlflow_project.parts import Parts
from mlflow_project.promotion.promote import rollback
from mlflow_project.rollouts.changes import Order, abort, hold, step
from mlflow_project.rules.guard.judge import Judgement
from mlflow_project.settings import ProviderSettings, load

logger = logging.getLogger(__name__)

WHO = "guard"
QUESTIONS, ANSWERS_NEEDED, ASK_SECONDS = 5, 3, 10.0
_QUESTION = ProviderRequest((Message("user", "Does this work? Answer with the one word: yes"),))


def act(parts: Parts, subject: Subject, decision: Decision, judgement: Judgement) -> int:
    """Do it. Returns the serial of the ledger's record.

    Raises:
        PromotionConflict: the ledger has moved on. Refused: a rule forbids it. Unavailable: a service does not answer.
    """
    evidence = {"guard": {"watches": subject.key, **judgement.to_dict()}}
    if decision.action == "rollback":
        flip = rollback(parts, subject.name, WHO, decision.why, subject.old, evidence, expected=subject.id)
        return flip.serial
    change = {"step": step, "abort": abort, "hold": hold}[decision.action]
    return change(parts, subject.name, Order(WHO, decision.why, evidence, subject.rollout)).serial


def old_release_answers(parts: Parts, subject: Subject) -> bool:
    """Whether the provider of the old release answers most of five short questions. A model has no provider, and
    counts as answering.

    Raises:
        Unavailable: the release's manifest cannot be read.
    """
    choice = read_manifest(parts.store, subject.old_digest).provider
    if choice is None:
        return True
    return asyncio.run(_answers(parts, choice)) >= ANSWERS_NEEDED


async def _answers(parts: Parts, choice: ProviderChoice) -> int:
    async with Providers(load(ProviderSettings), parts.masker) as providers:
        found = await asyncio.gather(*(_asked(providers, choice) for _ in range(QUESTIONS)))
    return sum(found)


async def _asked(providers: Providers, choice: ProviderChoice) -> bool:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            await providers.provider_for(choice).complete(_QUESTION)
    except (WorkspaceError, TimeoutError) as error:
        logger.warning("the provider of the old release fails", extra={"error": str(error)})
        return False
    return True
