"""The record of every seal, refusal, approval and flip: append-only, hash-chained, one object a record.

`ledger` reads and appends, `replaying` makes of records a `state` that says what is live and why, `audit` finds
tampering, `cache` keeps records that were read once.
"""

from mlflow_project.ledger.ledger import Draft, Ledger
from mlflow_project.ledger.replaying import replay
from mlflow_project.ledger.state import LiveVersion, NameState, Retraction, RolledBack, Seal, State

__all__ = ["Draft", "Ledger", "LiveVersion", "NameState", "Retraction", "RolledBack", "Seal", "State", "replay"]
