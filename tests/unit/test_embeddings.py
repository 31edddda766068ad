"""Our vectors are WordLlama's, without its library in the process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import wordllama

from mlflow_project.adapters.retrieval.embeddings import DIMENSIONS, embed

TEXTS = ["Who signs a release, and with what?", "¿Qué es un sello? 🙂", "word " * 2000, "a"]


def test_the_vectors_are_those_of_the_library() -> None:
    folder = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    assert np.allclose(embed(TEXTS), model.embed(TEXTS, norm=True), atol=1e-6)


def test_a_text_without_tokens_has_a_row_of_zeros() -> None:
    assert np.array_equal(embed(["", "a"])[0], np.zeros(DIMENSIONS))
    assert embed([]).shape == (0, DIMENSIONS)


def test_the_library_itself_is_not_loaded() -> None:
    code = (
        "import sys; from mlflow_project.adapters.retrieval.embeddings import embed; embed(['a']); "
        "sys.exit('wordllama' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
