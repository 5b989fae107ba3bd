"""Benchmarks, run by ``make bench`` and never as timed tests."""
