"""The description of a run in MLflow, in Markdown: what was compared, the gate's verdict, pictures and means.

In: scores of candidate and champion, the verdict once there is one. Out: Markdown for the tag `mlflow.note.content`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow_project.domain.verdict import Scores, Verdict
from mlflow_project.evaluation.record import means
from mlflow_project.rules.gate.reasons import number

NOTE_TAG = "mlflow.note.content"


def note(
    candidate: Scores,
    champion: Scores | None,
    pages: Mapping[str, str],
    pictures: Sequence[str],
    verdict: Verdict | None = None,
) -> str:
    """Markdown that MLflow shows as the run's description.

    Args:
        pages: addresses of further pages, by what they show.
        pictures: names of picture files of the candidate's run.
    """
    against = f" against {champion.label}" if champion else ", no champion"
    outcome = verdict.outcome if verdict else "evaluated"
    parts = [f"**{candidate.label}: {outcome}** on {len(candidate.case_ids)} cases{against}."]
    if verdict:
        parts.append("\n".join(f"- {reason}" for reason in verdict.reasons))
    parts += [f"![{name}](get-artifact?path={name}&run_uuid={candidate.run})" for name in pictures]
    parts.append(_table(candidate, champion))
    parts.append(" · ".join(f"[{title}]({address})" for title, address in pages.items()))
    return "\n\n".join(parts)


def _table(candidate: Scores, champion: Scores | None) -> str:
    ours, theirs = means(candidate), means(champion) if champion else {}
    lines = [f"| metric | {candidate.label} | {champion.label if champion else '-'} |", "|---|---|---|"]
    for name in candidate.metrics:
        if name in ours:
            lines.append(f"| {name} | {number(ours[name])} | {number(theirs[name]) if name in theirs else '-'} |")
    return "\n".join(lines)
