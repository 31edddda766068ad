"""Finds near duplicates by MinHash: it estimates how much the sets of five-word shingles of two texts overlap.

In: a text. Out: its signature. The share of equal positions in two signatures estimates the Jaccard similarity of the
two texts, with a standard error below 0.05. Every run uses the same permutations. `spark_jobs.duplicates` compares
signatures.
Sources: A. Broder, "On the resemblance and containment of documents" (1997); banding as in Leskovec, Rajaraman, Ullman,
"Mining of Massive Datasets", 3.4. 14 bands of 8 rows: a pair of similarity s shares a band with probability
1 - (1 - s^8)^14, which is 0.92 at 0.8, 0.56 at 0.7 and 0.05 at 0.5.
"""

from __future__ import annotations

import re
import zlib

import numpy as np
from numpy.typing import NDArray

BANDS, ROWS = 14, 8
SHINGLE = 5
_WORD = re.compile(r"\w+")
# Multiply-shift, universal without a division: M. Dietzfelbinger et al., "A reliable randomized algorithm" (1997).
_FACTORS, _SUMMANDS = np.random.Generator(np.random.PCG64(1997)).integers(
    0, 1 << 63, (2, BANDS * ROWS, 1), dtype=np.uint64
)
_AT_ONCE = 4096


def signature(text: str) -> NDArray[np.int32] | None:
    """The minima over the shingles of a text, `BANDS * ROWS` of them; None for a text without words. Case and
    punctuation are ignored."""
    words = _WORD.findall(text.lower())
    if not words:
        return None
    shingles = {" ".join(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))}
    hashes = np.fromiter((zlib.crc32(each.encode("utf-8", "replace")) for each in shingles), np.uint64, len(shingles))
    least = np.full(BANDS * ROWS, (1 << 32) - 1, np.uint64)
    for begin in range(0, len(hashes), _AT_ONCE):
        permuted = (hashes[begin : begin + _AT_ONCE] * (_FACTORS | np.uint64(1)) + _SUMMANDS) >> np.uint64(32)
        np.minimum(least, permuted.min(axis=1), out=least)
    return least.astype(np.uint32).view(np.int32)
