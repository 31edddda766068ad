"""The gateways that people use, each in an environment of its own below the cache folder, pinned.

In: where the provider is. Out: the command that starts a peer with one worker. A peer that cannot be installed here is
a sentence, never a gap: the bench prints it, and its goal counts as missed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stack.layout import cache_folder

MODEL = "simulated-1"


class CannotBeInstalled(Exception):
    """The message says why."""


@dataclass(frozen=True)
class Peer:
    """`configure` writes a file for this provider and returns the arguments of the program; `body` is what its own
    protocol asks for beside the messages."""

    name: str
    requirement: str
    path: str
    configure: Callable[[Path, str, int], list[str]]
    body: Mapping[str, Any]
    env: Mapping[str, str] = field(default_factory=dict)

    def command(self, folder: Path, provider: str, port: int) -> list[str]:
        """What starts it.

        Raises:
            CannotBeInstalled: pip says no.
        """
        return [str(_environment(self) / "bin" / self.name.split()[0]), *self.configure(folder, provider, port)]


def _environment(peer: Peer) -> Path:
    """The peer's environment; made on first use, and again when its pin changes."""
    place = cache_folder() / "bench" / re.sub(r"[^\w.]+", "-", peer.requirement)
    if not (place / "complete").exists():
        uv = str(Path(sys.executable).parent / "uv")
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)])
        _run([uv, "pip", "install", "--quiet", "--python", str(place / "bin" / "python"), peer.requirement])
        (place / "complete").touch()
    return place


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise CannotBeInstalled(said.strip().splitlines()[-1]) from error


def _litellm(folder: Path, provider: str, port: int) -> list[str]:
    model = {"model": f"openai/{MODEL}", "api_base": f"{provider}/v1", "api_key": "none"}
    config = {"model_list": [{"model_name": MODEL, "litellm_params": model}]}
    return ["--config", _written(folder / "litellm.yaml", config), "--port", str(port), "--num_workers", "1"]


def _mlflow(folder: Path, provider: str, port: int) -> list[str]:
    told = {"openai_api_key": "none", "openai_api_base": f"{provider}/v1"}
    model = {"provider": "openai", "name": MODEL, "config": told}
    config = {"endpoints": [{"name": "chat", "endpoint_type": "llm/v1/chat", "model": model}]}
    path = _written(folder / "mlflow.yaml", config)
    return ["gateway", "start", "--config-path", path, "--port", str(port), "--workers", "1"]


def _written(path: Path, config: object) -> str:
    """JSON is YAML too."""
    path.write_text(json.dumps(config))
    return str(path)


PEERS = (
    Peer(
        "litellm",
        "litellm[proxy]==1.106.12",
        "/v1/chat/completions",
        _litellm,
        {"model": MODEL},
        {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"},
    ),
    Peer("mlflow gateway", "mlflow[gateway]==3.17.2", "/gateway/chat/invocations", _mlflow, {}),  # `model` is a 422
)
