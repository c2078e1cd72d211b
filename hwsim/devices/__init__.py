"""Simulated devices: state machines behind a byte pipe, without I/O, clock or threads."""
