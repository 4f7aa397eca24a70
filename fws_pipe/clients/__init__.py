"""Who is here: the clients by id, their groups, what each may have under way, and what reaches whom.

    send, join, leave, close -> registry -> client -> its wire

Rule: no I/O, and nothing of the chain: whose event an action is for is asked of what is handed in.
"""
