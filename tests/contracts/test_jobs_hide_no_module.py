"""`spark-submit spark_jobs/x.py` puts the jobs' folder first on the path: no file there may hide Python's own."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_job_s_file_has_the_name_of_a_module_of_python_s() -> None:
    names = {path.stem for folder in ("spark_jobs", "dags") for path in (ROOT / folder).glob("*.py")}
    assert names & sys.stdlib_module_names == set()
