"""A chain: its text, its processes, and their life.

    text -> parser -> resolver -> spawn -> supervisor, by the table of lifecycle; successor brings up the next one
    sink: the last process, which checks the actions

Rule: what a chain is for is not known here: the supervisor drives an `Exchange`, the front's side of it.
"""
