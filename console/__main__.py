"""`python -m console`: starts the web console."""

import sys

from console.process import main

if __name__ == "__main__":
    sys.exit(main())
