"""The front: accepts clients, turns what they do into events, and executes actions on them.

    listener -> front -> reception -> a client of a route: its conversation, and the route's link to its chain
    source_link: takes what the source brings in from Redis, and (membership_changes) tells it of the clients

Rule: this room joins the others. It imports admission, clients, websocket and the ledger; none of them imports it.
"""
