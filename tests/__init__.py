"""The tests. Real processes, sockets and clients; nothing sleeps to wait for something."""
