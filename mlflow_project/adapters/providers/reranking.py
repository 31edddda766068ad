"""Orders chunks at an endpoint in the form that Cohere and Jina share: `POST …/rerank`.

In: a `Reranker`, an endpoint, a question and chunks. Out: the chunks, best first, each with the endpoint's score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mlflow_project.adapters.providers.chat import with_path
from mlflow_project.adapters.providers.endpoints import Endpoint
from mlflow_project.adapters.providers.openai import OpenAI
from mlflow_project.adapters.providers.patience import Patience
from mlflow_project.adapters.providers.upstream import Network, Upstream
from mlflow_project.adapters.retrieval.cross_encoder import in_order
from mlflow_project.adapters.retrieval.specification import MOST_CHARACTERS, Reranker
from mlflow_project.domain.answer import Context
from mlflow_project.domain.release import Message
from mlflow_project.errors import ProviderError


@dataclass(frozen=True)
class RerankingEndpoint:
    """One reranker at one endpoint."""

    reranker: Reranker
    upstream: Upstream
    url: str

    @classmethod
    def of(
        cls, reranker: Reranker, endpoint: Endpoint, network: Network, patience: Mapping[str, float]
    ) -> RerankingEndpoint:
        """The endpoint made ready. Raises ConfigError if its address is not one of this form."""
        parts = urlsplit(OpenAI.checked_address(endpoint))
        before = parts.path.rstrip("/").removesuffix("/chat/completions")
        upstream = Upstream.of(
            OpenAI.called(endpoint),
            OpenAI.headers(endpoint),
            endpoint,
            reranker.model,
            Patience.of({**patience, **endpoint.limits.patience()}),
            network,
        )
        return cls(reranker, upstream, with_path(urlunsplit(parts._replace(path=before)), "/rerank"))

    async def order(self, question: str, contexts: Sequence[Context]) -> list[Context]:
        """The chunks, best first. Equal scores keep the order of the search.

        Raises:
            ProviderError: no answer, an error status, or not one finite score for each chunk.
        """
        if not contexts or not question.strip():
            return list(contexts)
        most = self.reranker.max_characters or MOST_CHARACTERS
        texts = [chunk.text[:most] for chunk in contexts]
        body = {"model": self.reranker.model, "query": question[:most], "documents": texts, "top_n": len(texts)}
        data = await self.upstream.whole(self.url, body, [Message("user", text) for text in (question, *texts)])
        return in_order(contexts, self._scores(data, len(texts)))

    def _scores(self, data: Mapping[str, Any], wanted: int) -> list[float]:
        try:
            scores = {row["index"]: float(row["relevance_score"]) for row in data["results"]}
        except (LookupError, TypeError, ValueError) as error:
            said = f"{self.upstream.name}'s answer is no ranking in the form of Cohere and Jina."
            raise ProviderError(said, kind="invalid_json") from error
        if set(scores) != set(range(wanted)) or not all(map(math.isfinite, scores.values())):
            raise ProviderError(f"{self.upstream.name} did not give a score for each chunk.", kind="invalid_json")
        return [scores[place] for place in range(wanted)]
