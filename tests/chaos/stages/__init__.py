"""The chain's own stages, scripts each, which can be told to die: see mortal.py."""
