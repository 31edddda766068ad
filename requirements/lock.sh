#!/usr/bin/env bash
# Resolves every extra and dependency group of pyproject.toml in one go and writes one hashed lock for each.
# The locks carry names, versions and hashes only: no address of any registry. What is pinned stays as it is where it
# still fits; UPGRADE=1 takes the newest of everything.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
extras=(serving ingestion console mlflow spark documents models training lineage stack airflow)
groups=(checks)
compile() { "$uv" pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet pyproject.toml "$@"; }

all=()
for extra in "${extras[@]}"; do all+=(--extra "$extra"); done
for group in "${groups[@]}"; do all+=(--group "$group"); done
whole=$(mktemp)
trap 'rm -f "$whole"' EXIT
[ -n "${UPGRADE:-}" ] || (cd requirements && cat "${extras[@]/%/.txt}" "${groups[@]/%/.txt}") >"$whole"
compile "${all[@]}" --output-file "$whole"
lock() {
  compile "$1" "$2" --constraints "$whole" --output-file "requirements/$2.txt"
  echo "requirements/$2.txt: $(grep -c '==' "requirements/$2.txt") packages"
}
for extra in "${extras[@]}"; do lock --extra "$extra"; done
for group in "${groups[@]}"; do lock --group "$group"; done
