"""A WebSocket server whose behaviour is a Unix pipeline of filters."""

__version__ = "0.1.0"
