"""Why a rollback has nowhere to go, in words: which versions were live, and why each one is passed over. Pure."""

from __future__ import annotations

from mlflow_project.ledger import NameState
from mlflow_project.ledger.state import PRODUCTION


def nothing_to_go_back_to(of: NameState) -> str:
    """The refusal of a rollback that finds no version, with the history of the name and the commands that help."""
    live = of.live.get(PRODUCTION)
    if live is None:
        return f"There is nothing to roll {of.name} back from: nothing was ever live in {PRODUCTION}."
    now = f"{of.name}/{live.version} is live since {live.since}"
    others = [item.version for item in of.production if item.version != live.version]
    if not others:
        return f"There is nothing to roll {of.name} back to: {now}, and no other version was live before."
    passed_over = "; ".join(_why(of, version) for version in dict.fromkeys(reversed(others)))
    return (
        f"There is nothing to roll {of.name} back to: {now}, and the versions that were live before are passed over: "
        f"{passed_over}. To make one of them live all the same, promote it (`--despite-rollback REASON` where it was "
        "rolled back, `--despite-retraction REASON` where its text was retracted), or name one that the gate refused "
        "with `--to`."
    )


def _why(of: NameState, version: int) -> str:
    label, rolled_back, refusal = f"{of.name}/{version}", of.rolled_back.get(version), of.refusals.get(version)
    retracted = next((each for each in of.retracted.values() if each.version == version), None)
    if retracted is not None:
        return f"{label} rests on text that {retracted.describe()}"
    if rolled_back is not None:
        return f'{label} was rolled back by {rolled_back.who} at {rolled_back.time}: "{rolled_back.reason}"'
    return f"{label} was refused by the gate at {refusal.time}: {refusal.why}" if refusal is not None else label
