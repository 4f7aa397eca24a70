"""The book of one chain: what it has been told, what of that is not finished, and what that has led to.

    events -> feed -> (journal) -> the chain -> its ticks -> journal, progress
    the chain dies -> blame says what is written again, and how; quarantine keeps what kills

Rule: no event of a client is forgotten before its tick is back (journal.py). Journal, blame and progress do no I/O.
"""
