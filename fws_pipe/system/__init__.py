"""The operating system: signals, the first process of a container, the server's own folder, the service manager, /proc.

Rule: each module stands alone, and loads nothing that would delay a command's start.
"""
