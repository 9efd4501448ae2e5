"""What the two training stages share: frames in memory, padded rows, curves, and where work in progress lives."""

import warnings

# TRL's own vLLM client, which it warns about on import, is not used: engines are in `core/engine`.
warnings.filterwarnings("ignore", message="TRL currently supports vLLM versions")
