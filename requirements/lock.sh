#!/usr/bin/env bash
# Resolves every dependency group of pyproject.toml in one go and writes one hashed lock a group.
# The locks carry names, versions and hashes only: no address of any registry.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
groups=(serving mlflow spark stack airflow checks)
compile() { "$uv" pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet pyproject.toml "$@"; }

all=()
for group in "${groups[@]}"; do all+=(--group "$group"); done
whole=$(mktemp)
trap 'rm -f "$whole"' EXIT
compile "${all[@]}" --output-file "$whole"
for group in "${groups[@]}"; do
  compile --group "$group" --constraints "$whole" --output-file "requirements/$group.txt"
  echo "requirements/$group.txt: $(grep -c '==' "requirements/$group.txt") packages"
done
