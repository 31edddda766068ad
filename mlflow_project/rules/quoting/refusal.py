"""The one sentence that says there is no answer, and how to know it again, whoever said it."""

from __future__ import annotations

import re

I_DO_NOT_KNOW = "I do not know."

_REFUSAL = re.compile(
    r"\W*i (?:do not|don['’]t|cannot|can['’]t) (?:know|tell|answer)\b[^.!?\n]*[.!?]?\s*", re.IGNORECASE
)


def is_refusal(text: str | None) -> bool:
    """Whether the text as a whole says that its author does not know."""
    return text is not None and _REFUSAL.fullmatch(text) is not None
