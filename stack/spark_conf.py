"""What Spark is told before it starts: jars, Delta, the object store. In: state folder, store, jars. Out: a folder for
`SPARK_CONF_DIR`, and for the default state folder a copy where plain `spark-submit` of the environment looks.

Jars set by a job's `main()` would come too late for spark-submit; hence the file. It holds credentials: owner only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from mlflow_project.errors import ConfigError
from mlflow_project.private_files import write_private
from mlflow_project.settings import StoreSettings
from stack.ingest.kafka import spark_jars
from stack.layout import ROOT

_LOGS = """\
rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%ex{short}
logger.quiet1.name = org.apache.hadoop.util.NativeCodeLoader
logger.quiet1.level = error
logger.quiet2.name = org.apache.hadoop.metrics2
logger.quiet2.level = error
logger.quiet3.name = org.apache.spark.sql.catalyst.util.SparkStringUtils
logger.quiet3.level = error
"""

_ENVIRONMENT = """\
# Else Spark looks for an address of this machine by its name, and warns where it finds none but loopback.
export SPARK_LOCAL_IP="${SPARK_LOCAL_IP:-127.0.0.1}"
"""

_QUICK_TO_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""A job of seconds spends half of its processor time in Java's optimizing compiler (51 s against 27 for the guide). A
corpus of 100 MB and more is faster with it: `--driver-java-options -XX:TieredStopAtLevel=4` brings it back."""

_FILES = ("spark-defaults.conf", "log4j2.properties", "spark-env.sh")


def spark_defaults(state: Path, store: StoreSettings, jars: Path) -> dict[str, str]:
    """The settings of every Spark job on this stack. The jars that read Kafka are among them once `make ingest` has
    fetched them. Figures: few and small tables on few cores."""
    return {
        "spark.jars": ",".join(str(jar) for folder in (jars, spark_jars()) for jar in sorted(folder.glob("*.jar"))),
        "spark.driver.defaultJavaOptions": _QUICK_TO_START,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.hadoop.fs.s3a.endpoint": store.s3_endpoint,
        "spark.hadoop.fs.s3a.endpoint.region": store.s3_region,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": str(store.s3_endpoint.startswith("https")).lower(),
        "spark.hadoop.fs.s3a.aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        "spark.hadoop.fs.s3a.access.key": store.s3_access_key.get_secret_value(),
        "spark.hadoop.fs.s3a.secret.key": store.s3_secret_key.get_secret_value(),
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.warehouse.dir": str(state / "spark" / "warehouse"),
        "spark.sql.catalogImplementation": "in-memory",
        "spark.redaction.regex": "(?i)secret|password|token|access[.]?key",
    }


def write_spark_conf(state: Path, store: StoreSettings, jars: Path) -> None:
    """Write `<state>/spark/conf`; for the repository's own state folder, pyspark's own conf folder too."""
    files = dict(zip(_FILES, (_as_properties(spark_defaults(state, store, jars)), _LOGS, _ENVIRONMENT), strict=True))
    folders = [state / "spark" / "conf"]
    if state == default_state():
        folders.append(pyspark_conf())
    for folder in folders:
        for name, text in files.items():
            write_private(folder / name, text)


def remove_spark_conf(state: Path) -> None:
    """Take back what was written outside the state folder."""
    if state == default_state():
        for name in _FILES:
            (pyspark_conf() / name).unlink(missing_ok=True)


def default_state() -> Path:
    """The state folder of `make up` without further words."""
    return ROOT / ".switchyard"


def pyspark_conf() -> Path:
    """Where the environment's `spark-submit` looks when SPARK_CONF_DIR is not set."""
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise ConfigError("The environment holds no pyspark: `make setup` installs it.")
    return Path(spec.origin).parent / "conf"


def _as_properties(values: Mapping[str, str]) -> str:
    head = "# Written by `make up`; holds credentials. What spark-submit is told on its command line wins.\n"
    return head + "".join(f"{name} {value}\n" for name, value in values.items())
