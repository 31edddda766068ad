"""Texts to vectors with WordLlama's 256 dimensions: small, on the CPU, from the package's own files, never the network.

A text's vector is the mean of its tokens' vectors, as in WordLlama's own code, which is not imported: that would cost a
server 45 MB more for clustering and splitting that nobody here uses. A test compares the two. The tokenizer (20 MB)
is loaded by the first call that needs it, once a process; the table stays in its file, whose pages all processes share.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_project.errors import ConfigError

MODEL = "wordllama-0.4/256"
DIMENSIONS = 256
A_BATCH = 8
_MOST_AT_ONCE = 1_000
MOST_COUNTED = 10_000
_A_PIECE = 1_000
"""Characters that are tokenized at a time: longer texts cost more than their length."""

_LONG = 20_000
"""Characters that are tokenized at a time for a vector, in about 10 ms. Hardly a chunk is longer."""
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_WEIGHTS = "weights/l2_supercat_256.safetensors"


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """One row of 256 numbers a text, of length 1; a text without any token gives a row of zeros.

    Raises:
        ConfigError: WordLlama is not installed here.
    """
    vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    if not texts:
        return vectors
    tokenizer, table = _model()
    pieces = [(row, piece) for row, text in enumerate(texts) for piece in _pieces(text)]
    tokens = np.zeros((len(texts), 1), dtype=np.float32)
    for (row, _), encoded in zip(pieces, _encoded(tokenizer, [piece for _, piece in pieces]), strict=True):
        if encoded.ids:
            vectors[row] += table[encoded.ids].sum(axis=0, dtype=np.float32)
            tokens[row] += len(encoded.ids)
    np.divide(vectors, tokens, out=vectors, where=tokens > 0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    normalised: NDArray[np.float32] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return normalised


def count_tokens(text: str) -> int:
    """Estimate the number of tokens of a text by WordLlama's tokenizer, which is Llama 2's.

    Counts the first 10,000 characters, in about 30 ms, and takes the rest to have as many tokens a character.

    Raises:
        ConfigError: WordLlama is not installed here.
    """
    tokenizer, _ = _model()
    counted = text[:MOST_COUNTED]
    pieces = [counted[start : start + _A_PIECE] for start in range(0, len(counted), _A_PIECE)]
    tokens = sum(len(tokenizer.encode(piece, add_special_tokens=False).ids) for piece in pieces)
    return round(tokens * len(text) / len(counted)) if counted else 0


def similarity(first: str, second: str) -> float:
    """How near two texts are in meaning: the cosine of their vectors."""
    vectors = embed([first, second])
    return float(vectors[0] @ vectors[1])


def _pieces(text: str) -> list[str]:
    """A text as it is, or a long one in pieces: the tokenizer lets no other thread run, and a long text costs it more
    than its length."""
    return [text[start : start + _LONG] for start in range(0, max(len(text), 1), _LONG)]


def _encoded(tokenizer: Any, texts: Sequence[str]) -> Iterator[Any]:
    """A batch goes to threads of the tokenizer's own, which a few texts are not worth. Between batches other threads of
    ours run."""
    if len(texts) < A_BATCH:
        yield from [tokenizer.encode(text, add_special_tokens=False) for text in texts]
        return
    for start in range(0, len(texts), _MOST_AT_ONCE):
        yield from tokenizer.encode_batch(list(texts[start : start + _MOST_AT_ONCE]), add_special_tokens=False)


@cache
def _model() -> tuple[Any, NDArray[np.float16]]:
    package = find_spec("wordllama")
    if package is None or package.origin is None:
        raise ConfigError("Vectors need WordLlama, which is not installed here: install the `serving` extra.")
    from tokenizers import Tokenizer

    folder = Path(package.origin).parent
    tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer, _mapped(folder / _WEIGHTS)


def _mapped(path: Path) -> NDArray[np.float16]:
    """The one tensor of a safetensors file: eight bytes say how long its JSON head is, the numbers follow
    (https://github.com/huggingface/safetensors#format)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        (tensor,) = (each for name, each in json.loads(file.read(length)).items() if name != "__metadata__")
    offset = 8 + length + tensor["data_offsets"][0]
    return np.memmap(path, dtype=np.float16, mode="r", offset=offset, shape=tuple(tensor["shape"]))
