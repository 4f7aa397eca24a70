"""The chain: its text, its processes, its life."""
