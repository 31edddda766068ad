"""Airflow on this machine: its own Python environment, its state below `<state>/airflow`, its three processes.

An environment of its own, since the DAGs speak to the rest in commands: whoever needs no Airflow installs none.
"""
