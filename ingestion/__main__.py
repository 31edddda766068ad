"""`python -m ingestion`: starts the service in front of Kafka."""

import sys

if __name__ == "__main__":
    from ingestion.process import main

    sys.exit(main())
