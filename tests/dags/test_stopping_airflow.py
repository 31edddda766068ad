"""The end of the session's Airflow. pytest takes the files of a folder by name, so this one comes last."""

from __future__ import annotations

import os

from stack.airflow import processes
from stack.marks import part_of
from stack.ports import is_free
from tests.dags.driving import RunningAirflow, manage


def test_down_stops_every_process_and_frees_the_port(airflow: RunningAirflow) -> None:
    supervisor = processes.supervisor_of(airflow.home.parent)
    assert set(supervisor.processes()) == set(processes.PARTS)
    manage("down")
    assert supervisor.processes() == {}
    assert [process for process in supervisor.marked() if part_of(process) in processes.PARTS] == []
    assert is_free(int(os.environ["SWITCHYARD_AIRFLOW_PORT"]))
