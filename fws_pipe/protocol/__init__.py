"""The wire format of the pipes: frames, and the events and actions in them.

    bytes -> codec -> frames (events, actions) -> outgoing -> bytes; json_form writes frames as JSON, for jq and people

Rule: no I/O and no clock in here, and nothing that only a server needs: every filter loads this room.
"""
