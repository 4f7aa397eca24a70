"""Reads and writes pipes and files, for the front (ends, with trio) and for every other program (blocks).

Rule: the output of a block is written before the next block is read, and no flag of a shared file is changed.
"""
