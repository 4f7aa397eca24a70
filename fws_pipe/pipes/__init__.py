"""Reading and writing pipes and files, for the front (ends, with trio) and for every other program (blocks).

Rule: what has been made of a block is written before the next one is read, and no flag of a shared file is changed.
"""
