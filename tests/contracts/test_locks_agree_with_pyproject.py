"""Every requirement of pyproject is locked at a version that satisfies it; all locks agree; none names an address."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^ ;\\]+)", re.MULTILINE)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DIRECT = {**PYPROJECT["project"]["optional-dependencies"], **PYPROJECT["dependency-groups"]}


def pins(group: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{group}.txt").read_text()
    return {canonicalize_name(name): version for name, version in PIN.findall(text)}


@pytest.mark.parametrize("group", sorted(DIRECT))
def test_each_direct_requirement_is_locked_at_a_version_that_satisfies_it(group: str) -> None:
    locked = pins(group)
    for text in PYPROJECT["project"]["dependencies"] + DIRECT[group]:
        wanted = Requirement(text)
        found = locked.get(canonicalize_name(wanted.name))
        assert found, f"{wanted.name} is not in requirements/{group}.txt: run `make lock`"
        assert wanted.specifier.contains(found, prereleases=True), f"{wanted} is locked at {found}: run `make lock`"


def test_all_locks_hold_one_resolution() -> None:
    seen: dict[str, tuple[str, str]] = {}
    for group in DIRECT:
        for name, version in pins(group).items():
            where, other = seen.setdefault(name, (group, version))
            assert other == version, f"{name} is {other} in {where} and {version} in {group}: run `make lock`"


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_a_lock_has_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert len(PIN.findall(text)) == len(re.findall(r"^[A-Za-z0-9_.\[\]-]+==.*\\\n    --hash=", text, re.MULTILINE))
