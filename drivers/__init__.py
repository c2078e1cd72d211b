"""Card reader, PIN pad and printer over byte ports."""
