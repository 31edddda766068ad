"""Where an answer rests: the spans that a provider quoted, or the chunks whose numbers stand in the text, as in [2]."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_project.domain.answer import Citation, Completion, Context
from mlflow_project.rules.citation_marks import cited_numbers


def citations(completion: Completion, contexts: Sequence[Context]) -> tuple[Citation, ...]:
    """Each place once, in the order of the answer; numbers that no chunk has are left out."""
    if completion.quotes:
        documents = {chunk.chunk_id: chunk.document_id for chunk in contexts}
        return tuple(Citation(chunk, documents[chunk], start, end) for chunk, start, end in completion.quotes)
    numbers = cited_numbers(completion.text or "")
    cited = [contexts[number - 1] for number in numbers if 1 <= number <= len(contexts)]
    return tuple(Citation(chunk.chunk_id, chunk.document_id, chunk.start, chunk.end) for chunk in cited)
