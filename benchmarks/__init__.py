"""Measurements, each runnable alone: ``python -m benchmarks.NAME``; results go to ``benchmarks/RESULTS.md``."""
