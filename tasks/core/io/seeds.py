"""Seeds that depend on names, not on order, process or machine."""

import hashlib
import json

SEED_LIMIT = 2**31


def derive_seed(*parts: int | str) -> int:
    """Seed in [0, 2**31) from the run seed and whatever names the draw, as in `derive_seed(seed, step, "shuffle", i)`.

    Equal parts give equal seeds on every machine; `1` and `"1"` differ, and so do ("ab", "c") and ("a", "bc").
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") % SEED_LIMIT
