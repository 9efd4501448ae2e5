"""Arithmetic from a model's shape: parameters, operations, memory. Pure functions; nothing here imports torch."""
