"""Joins the front and the processes behind it: start, reload, drain, exit code.

    run (run_pipe, run_front) -> configured_front, surroundings, programs: what is made from the configuration
                              -> serving: listen, accept, drain; signals and watching ask for a reload or the end
    backend: a supervised chain (together), or our own stdin and stdout (standard_streams)

Rule: it starts what other rooms have, in order, and decides nothing about clients, events or bytes.
"""
