"""The front: turns what happens to clients into events, and actions into what happens to clients.

    listener -> front -> reception -> a client of a route: its conversation, and the route's link to its chain
    source_link: what the source brings in from outside, and (membership_changes) what it is told of the clients

Rule: this room joins the others. It knows of admission, clients, connections and the ledger; none of them knows of it.
"""
