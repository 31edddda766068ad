"""Where an answer rests: the spans that a provider quoted, or the chunks whose numbers stand in the text, as in [2]."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlflow_project.domain.answer import Citation, Completion, Context

_MARK = re.compile(r"\[(?:chunks?\s*)?(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]", re.IGNORECASE)


def citations(completion: Completion, contexts: Sequence[Context]) -> tuple[Citation, ...]:
    """Each place once, in the order of the answer; numbers that no chunk has are left out."""
    if completion.quotes:
        documents = {chunk.chunk_id: chunk.document_id for chunk in contexts}
        return tuple(Citation(chunk, documents[chunk], start, end) for chunk, start, end in completion.quotes)
    marks = [int(number) for match in _MARK.findall(completion.text or "") for number in re.findall(r"\d+", match)]
    cited = [contexts[number - 1] for number in dict.fromkeys(marks) if 1 <= number <= len(contexts)]
    return tuple(Citation(chunk.chunk_id, chunk.document_id, chunk.start, chunk.end) for chunk in cited)
