"""Measuring: judges, metrics and free-running evaluation."""
