"""Inputs: lines from outside become `consumer` events: the server's own stdin, and the output of commands (--source).

    own stdin, or a command's stdout -> lines -> line_feed -> the feed of a chain
    inputs: all inputs of a server, as one part of what app.py runs

Rule: nothing is read that there is no room for. What has been read goes into the feed, also while the server ends.
"""
