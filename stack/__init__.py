"""Set-up and processes of one machine: MinIO's build, jars, environment, the supervisor's file, readiness, doctor.

Set-up, doctor and what they import run on a bare Python, since nothing is installed yet; the rest runs in the project's
environment. Everything binds to 127.0.0.1; all state lies below `SWITCHYARD_STATE`, all that can be shared by clones
below the cache folder.
"""
