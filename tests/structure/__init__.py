"""Tests of what the modules may import, and what every file must have."""
