"""The clients: each by its id, their groups, what each may have under way, and which messages reach which of them.

    send, join, leave, close -> registry -> client -> its wire

Rule: no I/O, and nothing of the chain: whose event an action is for is asked of what is handed in.
"""
