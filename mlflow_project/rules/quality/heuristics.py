"""Published filters for running text. A text that fails one is most likely no prose (menus, logs, link lists, filler).

In: a text. Out: the first filter that it fails, with a sentence, or None. Sources: J. Rae et al., "Scaling language
models: methods, analysis and insights from training Gopher" (2021), appendix A.1, tables A1 and "quality filtering";
C. Raffel et al., "Exploring the limits of transfer learning" (2020), section 2.2 (C4), for the filler text.
"""

from __future__ import annotations

import re

from mlflow_project.rules.chunking.records import Reason, Rejected

_LEAST_WORDS, _MOST_WORDS = 50, 100_000
_WORD_LENGTH = (3.0, 10.0)
_MOST_SYMBOLS = 0.1
_MOST_BULLETS, _MOST_ELLIPSES = 0.9, 0.3
_LEAST_LETTERED = 0.8
_MOST_REPEATED_LINES = 0.3
_STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_SYMBOL = re.compile(r"#|\.\.\.|…")
_LETTER = re.compile(r"[^\W\d_]")
_BULLETS = ("-", "*", "•", "‣", "–", "·")


def flaw(text: str, language: str | None) -> Rejected | None:
    """The first filter that a text fails, or None. Filters that count words skip languages written without spaces."""
    if "lorem ipsum" in text.lower():
        return Rejected(
            Reason.FILLER_TEXT, "The text holds `lorem ipsum`, the filler of pages that are not written yet."
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = _flaw_of_lines(lines)
    if found is None and language not in ("ja", "zh", "th"):
        found = _flaw_of_words(text, language)
    return found


def _flaw_of_lines(lines: list[str]) -> Rejected | None:
    whole = len(lines)
    bullets = sum(line.startswith(_BULLETS) for line in lines) / whole
    if bullets > _MOST_BULLETS:
        return Rejected(Reason.MOSTLY_BULLETS, f"{bullets:.0%} of the lines are bullets; at most 90% may be.")
    ellipses = sum(line.endswith(("...", "…")) for line in lines) / whole
    if ellipses > _MOST_ELLIPSES:
        return Rejected(Reason.MOSTLY_CUT_OFF, f"{ellipses:.0%} of the lines end with an ellipsis; at most 30% may.")
    repeated = 1 - len(set(lines)) / whole
    if repeated > _MOST_REPEATED_LINES:
        return Rejected(Reason.REPEATED_LINES, f"{repeated:.0%} of the lines repeat others; at most 30% may.")
    return None


def _flaw_of_words(text: str, language: str | None) -> Rejected | None:
    words = text.split()
    if not _LEAST_WORDS <= len(words) <= _MOST_WORDS:
        return Rejected(Reason.WORD_COUNT, f"The text has {len(words):,} words; it must have 50 to 100,000.")
    length = sum(map(len, words)) / len(words)
    if not _WORD_LENGTH[0] <= length <= _WORD_LENGTH[1]:
        return Rejected(Reason.WORD_LENGTH, f"The mean length of a word is {length:.1f}; it must be 3 to 10.")
    symbols = len(_SYMBOL.findall(text)) / len(words)
    if symbols > _MOST_SYMBOLS:
        return Rejected(
            Reason.MANY_SYMBOLS, f"There are {symbols:.2f} hash signs and ellipses per word; at most 0.1 may be."
        )
    lettered = sum(_LETTER.search(word) is not None for word in words) / len(words)
    if lettered < _LEAST_LETTERED:
        return Rejected(Reason.FEW_LETTERS, f"{lettered:.0%} of the words hold a letter; at least 80% must.")
    if language == "en" and len(_STOP_WORDS.intersection(text.lower().split())) < 2:
        return Rejected(
            Reason.FEW_STOP_WORDS, "The English text holds fewer than two of: the, be, to, of, and, that, have, with."
        )
    return None
