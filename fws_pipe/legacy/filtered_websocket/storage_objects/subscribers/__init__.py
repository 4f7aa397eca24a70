"""Subscribers: they put values from outside on the server's queue."""
