"""Simulated host and devices for the bench, written from the public protocols."""
