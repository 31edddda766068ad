"""`python -m stack.start COMMAND ...`: how the process manager starts each part.

A part that was killed may leave children behind (MLflow's web server, the server's workers) which still hold its port.
This ends what an earlier start of the same part left, and then becomes COMMAND, under the same process id.
"""

from __future__ import annotations

import os
import sys

import psutil

from stack.marks import end, part_of, same_stack


def main(command: list[str]) -> None:
    """Replace this process by the command."""
    part = os.environ["SUPERVISOR_PROCESS_NAME"]
    own = psutil.Process()
    family = {own.pid, *(parent.pid for parent in own.parents())}
    left = [process for process in same_stack() if process.pid not in family and part_of(process) == part]
    if left:
        sys.stderr.write(f"An earlier {part} left {len(left)} processes behind: they are ended.\n")
        sys.stderr.flush()
        end(left)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
