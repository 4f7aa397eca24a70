"""Plain HTTP on the port: reads and parses a request's head, and makes the answer.

    bytes -> request (reads the head) -> head (parses it) -> handshake: an Upgrade, a Refusal, or a PlainRequest
    PlainRequest -> pages: a file of page_folder, the console, or a Refusal

Rule: nothing here decides on admission, or knows of open WebSockets.
"""
