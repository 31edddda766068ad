"""Leaves out cases whose expected answer one of the two compared releases gave itself.

People approve live answers, and such answers become cases. The release that gave an answer agrees with itself, so these
cases favour it against every other release. They never decide between that release and another one; how far the other
one agrees is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlflow_project.domain.verdict import Check, Scores

_MARK = "approved answer of "
AGREEMENT = "agreement"
"""The metric that says how far an answer agrees with the approved one."""


def own_answer_tag(release: str) -> str:
    """The tag of a case that was made from an approved answer of this release."""
    return _MARK + release


def without_own_answers(candidate: Scores, champion: Scores | None) -> tuple[Scores, Scores | None, tuple[Check, ...]]:
    """Both without the cases that one of them answered when it was live, and a check that says so if there are any."""
    both = [candidate] if champion is None else [candidate, champion]
    own = {own_answer_tag(scores.label) for scores in both}
    kept = [number for number, tags in enumerate(candidate.tags) if not own & set(tags)]
    if len(kept) == len(candidate.tags):
        return candidate, champion, ()
    left_out = sorted(set(range(len(candidate.tags))) - set(kept))
    said = ", ".join(
        f"{scores.label} {found:.3f}" for scores in both if (found := _mean(scores, AGREEMENT, left_out)) is not None
    )
    whose = " and ".join(sorted({tag.removeprefix(_MARK) for n in left_out for tag in own & set(candidate.tags[n])}))
    agreement = f"; agreement with them: {said}" if said else ""
    reason = f"{len(left_out)} cases are made from approved answers of {whose}, and decide nothing here{agreement}"
    check = Check(AGREEMENT, "own answers", True, reason)
    reduced = [_only(scores, kept) for scores in both]
    return reduced[0], reduced[1] if champion is not None else None, (check,)


def _only(scores: Scores, kept: Sequence[int]) -> Scores:
    def chosen(values: Sequence[object]) -> tuple[object, ...]:
        return tuple(values[number] for number in kept) if len(values) == len(scores.case_ids) else tuple(values)

    return replace(
        scores,
        case_ids=chosen(scores.case_ids),  # type: ignore[arg-type]
        tags=chosen(scores.tags),  # type: ignore[arg-type]
        metrics={name: chosen(values) for name, values in scores.metrics.items()},  # type: ignore[misc]
    )


def _mean(scores: Scores, metric: str, cases: Sequence[int]) -> float | None:
    values = scores.metrics.get(metric, ())
    found = [value for number in cases if number < len(values) and (value := values[number]) is not None]
    return float(np.mean(found)) if found else None
