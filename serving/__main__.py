"""`python -m serving`: starts the server."""

import sys

# Two libraries import these if they are installed: securesystemslib imports boto3 for signers in a cloud, httpx2
# imports pygments for its command line. A worker imports this module when it is spawned, and needs neither: without
# them it takes 25 MB and half a second less.
for _unwanted in ("boto3", "pygments"):
    sys.modules.setdefault(_unwanted, None)  # type: ignore[arg-type]


if __name__ == "__main__":
    from serving.process import main

    sys.exit(main())
