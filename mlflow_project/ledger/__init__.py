"""The record of every seal, refusal, approval and flip: append-only, hash-chained, one object a record.

`ledger` reads and appends, `state` replays records into who is live and why, `audit` finds tampering, `cache` keeps
records that were read once.
"""

from mlflow_project.ledger.ledger import Draft, Ledger
from mlflow_project.ledger.state import LiveVersion, NameState, RolledBack, Seal, State, replay

__all__ = ["Draft", "Ledger", "LiveVersion", "NameState", "RolledBack", "Seal", "State", "replay"]
