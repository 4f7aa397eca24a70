"""Argv and signals: what each command does before and after the server."""
