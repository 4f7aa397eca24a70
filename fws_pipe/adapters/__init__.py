"""Adapters: filters that run people's programs, which speak lines and not frames.

    stdin, frames -> adapter -> lines -> the program -> lines -> adapter -> frames, stdout

A single thread waits for all pipes at once (`loop`). `program` is one run of a command in a process group of its own,
and `guard` ends it when the adapter is killed.

Rule: a program sees no tick and no frame. Its backlog is bounded: when it is full the adapter reads no more frames. A
program never outlives its adapter.
"""
