"""Environment variables: which of git's, DVC's, MLflow's and Python's are passed on.

A git hook sets variables that name its repository; some of MLflow's select another run or let
writes fail silently; and later versions will have more of them. So these are lists of what is
allowed, not of what is forbidden. Variables of other programs are never touched.
"""

import re
from collections.abc import Iterable, Mapping

_FAMILIES = re.compile(r"GIT_|DVC_|_?MLFLOW_|PYTHON")
"""The prefixes of variables that are passed on only if a list below has them."""

_ALWAYS = (
    # How git reaches a remote, and by whom; its configuration files. Nothing that names a
    # repository (`git rev-parse --local-env-vars`) and nothing that changes git's output.
    "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_ASKPASS", "GIT_TERMINAL_PROMPT",
    "GIT_SSL_*", "GIT_PROXY_*", "GIT_HTTP_*", "GIT_ALLOW_PROTOCOL", "GIT_PROTOCOL_FROM_USER",
    "GIT_USER_AGENT", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM",
    "GIT_ATTR_NOSYSTEM", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_AUTHOR_*", "GIT_COMMITTER_*", "GIT_LFS_*", "GIT_OPTIONAL_LOCKS",
    # Where DVC keeps its settings and temporary files on this machine.
    "DVC_NO_ANALYTICS", "DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR",
    "MLFLOW_DISABLE_TELEMETRY",
    # How Python prints, hashes and caches bytecode, not where it imports from.
    "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE",
    "PYTHONPYCACHEPREFIX", "PYTHONHASHSEED", "PYTHONWARNINGS", "PYTHONFAULTHANDLER",
    "PYTHONNOUSERSITE", "PYTHON_COLORS", "PYTHON_CPU_COUNT",
)  # fmt: skip
"""The variables that every program may get. A name may end in *."""

_MLFLOW = (
    # Which store, and how to log in to it.
    "MLFLOW_TRACKING_URI", "MLFLOW_WORKSPACE",
    "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_MYSQL_SSL_*", "MLFLOW_KERBEROS_*",
    # Where artifacts are, and how they are transferred.
    "MLFLOW_S3_*", "MLFLOW_EXPERIMENTAL_S3_SIGNATURE_VERSION", "MLFLOW_BOTO_CLIENT_*",
    "MLFLOW_GCS_*", "MLFLOW_PYARROW_EXTRA_CONF", "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT",
    "MLFLOW_DOWNLOAD_CHUNK_TIMEOUT", "MLFLOW_MULTIPART_*", "MLFLOW_ENABLE_MULTIPART_*",
    "MLFLOW_ENABLE_PROXY_MULTIPART_*",
    # How long to wait for a server or a database, and how often to try.
    "MLFLOW_HTTP_*", "MLFLOW_ALLOW_HTTP_REDIRECTS", "MLFLOW_SQLALCHEMYSTORE_POOL*",
    "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW", "MLFLOW_DATABRICKS_ENDPOINT_HTTP_RETRY_TIMEOUT",
    "MLFLOW_ENABLE_DB_SDK",
    # Whether and how often it samples the machine's load while a run is shown.
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "MLFLOW_SYSTEM_METRICS_*",
    # The server that `samerun ui` starts.
    "MLFLOW_SERVER_*", "MLFLOW_FLASK_SERVER_SECRET_KEY",
    # What it prints and reports, and whether it may load pickles.
    "MLFLOW_LOGGING_LEVEL", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION",
)  # fmt: skip
"""MLflow's variables that are passed on. Not those that select a run, an experiment, a model or a
registry, that log in the background, rename or validate, or that MLflow sets for itself."""

_SAME_PLACE = (
    *_MLFLOW,
    "DVC_ROOT", "DVC_STAGE", "DVC_EXP_*", "DVC_STUDIO_*",
    "PYTHONPATH",
)  # fmt: skip
"""The further variables of a program that works in this workspace and uses its store."""


def _pattern(names: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(name.replace("*", ".*") for name in names))


_ISOLATED_PATTERN = _pattern(_ALWAYS)
_SAME_PLACE_PATTERN = _pattern([*_ALWAYS, *_SAME_PLACE])
_MLFLOW_PATTERN = _pattern(_MLFLOW)


def inherited(environment: Mapping[str, str], *, isolated: bool) -> dict[str, str]:
    """Return the variables that a program may get.

    isolated: whether it uses neither this workspace nor its store, as in a reproduction.
    """
    allowed = _ISOLATED_PATTERN if isolated else _SAME_PLACE_PATTERN
    return {
        name: value
        for name, value in environment.items()
        if not _FAMILIES.match(name) or allowed.fullmatch(name)
    }


def unheeded_by_mlflow(environment: Iterable[str]) -> list[str]:
    """Return the names of MLflow's variables that must be unset before MLflow is imported."""
    return [
        name
        for name in environment
        if re.match("_?MLFLOW_", name) and not _MLFLOW_PATTERN.fullmatch(name)
    ]
