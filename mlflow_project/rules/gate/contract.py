"""The contract guard of models: what the champion's callers send must be accepted by the candidate."""

from __future__ import annotations

from mlflow_project.domain.release import Manifest
from mlflow_project.domain.verdict import Check
from mlflow_project.rules.gate.policy import Policy


def check_contract(candidate: Manifest, champion: Manifest | None, policy: Policy) -> tuple[Check, ...]:
    """One check for two models; none for prompts, and none without a champion."""
    if champion is None or candidate.model is None or champion.model is None:
        return ()
    refused = candidate.model.signature.refuses_inputs_of(champion.model.signature)
    if not refused:
        return (Check("signature", "contract", True, "signature: it accepts everything that the champion accepts"),)
    reason = f"signature: {'; '.join(refused)}"
    if policy.new_contract:
        return (Check("signature", "contract", True, f"{reason}; the policy allows it as a new contract"),)
    return (
        Check("signature", "contract", False, f"{reason}; if that is meant, set `new_contract: true` in the policy"),
    )
