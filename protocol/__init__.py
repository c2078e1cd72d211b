"""Bytes to facts and back: pure code, without input, output, clock, randomness or logging."""
