"""Who answers: one small protocol, and behind it each way of answering.

`protocol` says what a provider is, `choice` makes one from what a release pins. `extractive` and `lexicon` answer here,
without a key or a network. `anthropic`, `gemini` and `openai` ask a language model over HTTP: `endpoints` says where
and with which key, `chat` holds what the three have in common, and `upstream` sends, waits and tries again.
"""

from mlflow_project.adapters.providers.choice import Providers
from mlflow_project.adapters.providers.fallback import Fallback
from mlflow_project.adapters.providers.protocol import Delta, Provider

__all__ = ["Delta", "Fallback", "Provider", "Providers"]
