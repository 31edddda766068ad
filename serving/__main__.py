"""`python -m serving`: starts the server."""

import sys

# Libraries load these where they are installed (securesystemslib for signers in a cloud, httpx for its own command
# line). A worker, which imports this module too when it is spawned, needs neither: 25 MB and half a second less.
for _unwanted in ("boto3", "pygments"):
    sys.modules.setdefault(_unwanted, None)  # type: ignore[arg-type]


if __name__ == "__main__":
    from serving.process import main

    sys.exit(main())
