"""Answering by quotation: `passages` finds the sentences of retrieved chunks, `ranking` says which of them answer.

Pure: texts, words and similarities in, ranked sentences out. No language model, and never called one.
"""

from mlflow_project.rules.quoting.passages import Sentence, sentences_of
from mlflow_project.rules.quoting.ranking import Quote, Weights, rank
from mlflow_project.rules.quoting.refusal import I_DO_NOT_KNOW, is_refusal

__all__ = ["I_DO_NOT_KNOW", "Quote", "Sentence", "Weights", "is_refusal", "rank", "sentences_of"]
