"""The operating system: signals, the first process of a container, the folder of a run, the service manager.

Rule: each module stands alone, and loads nothing that would delay a command's start.
"""
