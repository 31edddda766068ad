"""How a text becomes words, the same for chunks and for questions.

Runs of letters, marks and digits are words, lower-cased and without accents; scripts that are written without spaces
(Han, kana, Thai, Lao, Khmer, Myanmar) give one word a character. English endings are cut: "promoted" finds "promotes".
Changing anything here changes what an index means: raise `ANALYSIS` with it.
"""

from __future__ import annotations

from functools import cache

import tantivy

ANALYSIS = "words/1"
TOKENIZER = "switchyard"

_WORD = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
    r"|[\p{L}\p{M}\p{N}&&[^\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]+"
)


@cache
def analyzer() -> tantivy.TextAnalyzer:
    """The analyzer; register it as `TOKENIZER` with every index that is opened."""
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(_WORD))
        .filter(tantivy.Filter.remove_long(100))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


def words(text: str) -> list[str]:
    """The words of a text in order, as the index knows them."""
    return [str(word) for word in analyzer().analyze(text)]
