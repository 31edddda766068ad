"""OpenAI's files and fine-tuning jobs: a job needs as many looks as `looks` until it is over."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_PATHS = re.compile(r".*/(?:files|fine_tuning/jobs(?:/(?P<job>[^/]+)(?P<cancel>/cancel)?)?)$")


@dataclass
class Tuning:
    """What was uploaded and asked for. A job ends as `ends`, or is refused where `refuses` is a sentence."""

    looks: int = 2
    ends: str = "succeeded"
    refuses: str = ""
    files: dict[str, str] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)

    def serves(self, path: str) -> bool:
        """Whether this is an address of these two APIs."""
        return _PATHS.fullmatch(path) is not None

    def answer(self, method: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Status and body of an answer."""
        if path.endswith("/files"):
            self.files[f"file-{len(self.files)}"] = body
            return 200, {"id": f"file-{len(self.files) - 1}", "object": "file", "purpose": "fine-tune"}
        found = _PATHS.fullmatch(path)
        if found is None or found["job"] is None:
            return self._create(body) if method == "POST" else (200, {"data": self.jobs[::-1], "has_more": False})
        job = next((job for job in self.jobs if job["id"] == found["job"]), None)
        if job is None:
            return 404, _error("There is no such job.")
        if found["cancel"]:
            job["status"] = "cancelled"
        else:
            self._look(job)
        return 200, job

    def _create(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.refuses:
            return 400, _error(self.refuses)
        kind = {"object": "fine_tuning.job", "id": f"ftjob-{len(self.jobs)}", "status": "validating_files"}
        self.jobs.append({**body, **kind, "fine_tuned_model": None, "trained_tokens": None, "error": None, "looks": 0})
        return 200, self.jobs[-1]

    def _look(self, job: dict[str, Any]) -> None:
        job["looks"] += 1
        if job["status"] in {"cancelled", "failed", "succeeded"}:
            return
        job["status"] = "running" if job["looks"] < self.looks else self.ends
        if job["status"] == "succeeded":
            job["fine_tuned_model"] = f"ft:{job['model']}:{job['suffix']}"
            job["trained_tokens"] = 1_234
        if job["status"] == "failed":
            job["error"] = {"code": "invalid", "message": "The examples are too much alike.", "param": None}


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "simulated", "param": None, "code": None}}
