"""Adapters: filters that run people's programs, which speak lines and not frames.

    stdin, frames -> adapter -> lines -> the program -> lines -> adapter -> frames, stdout

A single thread waits for all pipes at once (`loop`). `program` is one run of a command, in a process group of its own,
which ends with the adapter however that ends (`guard`). What a program needs to know is in `lines` and `arguments`.

Rule: a program sees no tick, and no frame; what waits for it is bounded, since the adapter reads no further frames
meanwhile; and it has ended when the adapter has.
"""
