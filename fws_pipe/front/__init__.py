"""The WebSocket side: listeners, wires, clients, and the two pipes to the chain."""
