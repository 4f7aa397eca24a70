"""Inputs turn lines from outside into `consumer` events: those of the server's own stdin, and of commands (--source).

    own_stdin, or command (its stdout) -> line_feed -> the feed of each chain
    inputs: all inputs of a server, which app runs beside its chains

Rule: an input is read only as fast as the chains take its lines. Lines that were read go into the feed, also while the
server ends.
"""
