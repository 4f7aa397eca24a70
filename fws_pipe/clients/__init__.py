"""The clients: each by its id, their groups, what each may have under way, and which messages reach which of them.

    send, join, leave, close -> registry -> client -> its wire

Rule: clients are reached through their wires, and the chain through what is handed in: whose event an action is for.
"""
