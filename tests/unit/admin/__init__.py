"""The admin address."""
