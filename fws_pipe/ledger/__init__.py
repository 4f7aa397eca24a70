"""One chain's records: the events that were written to it, those that are unfinished, and the actions executed for
them.

    events -> feed -> (journal) -> the chain -> its ticks -> journal, progress
    the chain dies -> blame decides how the kept events are replayed; quarantine keeps an event that kills the chain

Rule: no event of a client is forgotten before its tick is back (journal.py). Journal, blame and progress do no I/O.
"""
