"""The pipeline's stages, one package each, and `core`, the library they share.

Importing it sets environment defaults that keep every run offline and quiet (nothing calls home and no library reaches
for a model hub) and that let it share the cores. A variable that is already set wins.
"""

import os

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "TOKENIZERS_PARALLELISM": "false",
}

SHARED_CORES = {
    # How long a waiting OpenMP thread spins before it yields: short enough that another process on the same cores does
    # not slow a training step many times over (`python -m measure.speed.threads`).
    "GOMP_SPINCOUNT": "10000",
}

for _name, _value in (OFFLINE | SHARED_CORES).items():
    os.environ.setdefault(_name, _value)
