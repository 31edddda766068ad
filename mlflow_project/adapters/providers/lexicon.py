"""Says whether a text is positive, neutral or negative by a list of words; no language model, no key, no network.

In: what was asked (the text itself). Out: a JSON object `{"label", "confidence", "reason"}`, the reason naming the
words that decided. It takes no parameters.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from mlflow_project.adapters.providers.parameters import refuse_unknown
from mlflow_project.adapters.providers.protocol import Delta, ProviderRequest
from mlflow_project.domain.answer import Completion
from mlflow_project.rules.sentiment import sentiment_of
from mlflow_project.telemetry.tracing import span


class Lexicon:
    """The word-list provider."""

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Lexicon:
        """Check that there are no parameters.

        Raises:
            InvalidData: there are some.
        """
        refuse_unknown("lexicon", parameters, frozenset())
        return cls()

    async def complete(self, request: ProviderRequest) -> Completion:
        """The verdict as JSON."""
        text = request.question or request.messages[-1].content
        with span("try", provider="lexicon"):
            found = await asyncio.to_thread(sentiment_of, text) if request.is_long else sentiment_of(text)
        said = {"label": found.label, "confidence": found.confidence, "reason": found.reason}
        return Completion(json.dumps(said, ensure_ascii=False), finish_reason="stop")

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Delta]:
        """Everything at once: there is nothing to wait for."""
        completion = await self.complete(request)
        yield Delta(completion.text or "", completion)
