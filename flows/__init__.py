"""The only package that uses Prefect: a thin flow over DVC's graph.

`tasks` sets the offline defaults; Prefect reads them from the environment at its own import, so they come first.
"""

import os

import tasks  # noqa: F401  (for its environment defaults)

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_ENABLED", "true")
# Prefect allows its temporary server 20 s; a first start on a cold, busy machine takes longer.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
