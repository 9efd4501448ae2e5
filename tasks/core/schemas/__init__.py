"""Records and tables between stages, and the checks on them.

Nothing is re-exported: `records` is a dep of every stage, `expectations` and `gx` of the gates alone.
"""
