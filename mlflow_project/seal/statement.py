"""The signed content of a seal: an in-toto Statement v1 that binds a release's digest to name, version and evidence.

In: a release and the gate's evidence. Out: JSON-ready data, and the same read back as a `Statement`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_project.domain.model import Loading
from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Verdict
from mlflow_project.errors import SealBroken

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:switchyard:seal:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Statement:
    """The content of a verified seal. `champion` is version and digest of what the release was compared with."""

    kind: str
    name: str
    version: int
    digest: str
    policy_digest: str
    champion: tuple[int, str] | None
    sealed_at: str
    sealed_by: str
    predicate: Mapping[str, Any]

    @property
    def loading(self) -> Loading:
        """What the files of a model may do when they are loaded; a seal that says nothing allows the safe formats."""
        said = self.predicate["policy"].get("loading", {})
        return Loading(tuple(said.get("formats", ())), tuple(said.get("trusted_types", ())))


def statement_for(
    release: Release,
    verdict: Verdict,
    policy_digest: str,
    champion: Release | None,
    runs: Mapping[str, str | None],
    cases: Mapping[str, Any],
    who: str,
    when: str,
    scores: Mapping[str, str | None] | None = None,
    protected: bool = False,
    loading: Loading | None = None,
    replay: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The statement to sign.

    Args:
        runs: MLflow run ids of `candidate` and `champion`.
        scores: digests of their scores, under the same names.
        cases: `digest` and `count` of the cases.
        loading: for a model, what its policy allows when its files are loaded.
        replay: run id, digest and size of the replay that the policy asked for; None: it asked for none.
    """
    policy: dict[str, Any] = {"digest": policy_digest, "protected": protected}
    if loading is not None:
        policy["loading"] = {"formats": list(loading.formats), "trusted_types": list(loading.trusted_types)}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": release.label, "digest": {"sha256": release.digest.removeprefix("sha256:")}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "kind": release.manifest.kind,
            "name": release.name,
            "version": release.version,
            "verdict": verdict.to_dict(),
            "policy": policy,
            "champion": None if champion is None else {"version": champion.version, "digest": champion.digest},
            "runs": dict(runs),
            "scores": dict(scores or {}),
            "cases": dict(cases),
            **({"replay": dict(replay)} if replay is not None else {}),
            "sealed_at": when,
            "sealed_by": who,
        },
    }


def read_statement(data: Any) -> Statement:
    """Read a statement whose signature was verified.

    Raises:
        SealBroken: not a statement of ours, or its verdict did not accept the release.
    """
    try:
        if (data["_type"], data["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise SealBroken(f"A seal states {PREDICATE_TYPE}; this envelope states {data['predicateType']!r}.")
        (subject,), predicate = data["subject"], data["predicate"]
        champion = predicate["champion"]
        statement = Statement(
            kind=predicate["kind"],
            name=predicate["name"],
            version=predicate["version"],
            digest="sha256:" + subject["digest"]["sha256"],
            policy_digest=predicate["policy"]["digest"],
            champion=None if champion is None else (champion["version"], champion["digest"]),
            sealed_at=predicate["sealed_at"],
            sealed_by=predicate["sealed_by"],
            predicate=predicate,
        )
        accepted = predicate["verdict"]["accepted"]
    except (KeyError, TypeError, ValueError) as error:
        raise SealBroken(f"This seal's statement cannot be read: {error!r}.") from error
    if subject["name"] != f"{statement.name}/{statement.version}" or accepted is not True:
        raise SealBroken(f"This seal of {subject['name']!r} contradicts itself, or states no acceptance.")
    return statement
