"""Where an answer rests: the spans that a provider quoted, or the chunks whose numbers stand in the text, as in [2]."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_project.domain.answer import Citation, Completion, Context
from mlflow_project.rules.citation_marks import cited_numbers


def citations(completion: Completion, contexts: Sequence[Context]) -> tuple[Citation, ...]:
    """Each place once, in the order of the answer; numbers that no chunk has are left out."""
    if completion.quotes:
        chunks = {chunk.chunk_id: chunk for chunk in contexts}
        quoted = [(chunks[name], start, end) for name, start, end in completion.quotes]
        return tuple(_citation(chunk, start, end) for chunk, start, end in quoted)
    numbers = cited_numbers(completion.text or "")
    cited = [contexts[number - 1] for number in numbers if 1 <= number <= len(contexts)]
    return tuple(_citation(chunk, chunk.start, chunk.end) for chunk in cited)


def _citation(chunk: Context, start: int, end: int) -> Citation:
    return Citation(chunk.chunk_id, chunk.document_id, start, end, chunk.pages)
