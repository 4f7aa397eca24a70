"""A chain: its text, its processes, and their life.

    text -> parser -> resolver -> spawn -> supervisor, by the table of lifecycle; successor brings up the next one
    sink: the last process of a chain, which checks the actions

Rule: this room does not know what a chain is for. The supervisor drives an `Exchange`, which is the front's side of it.
"""
