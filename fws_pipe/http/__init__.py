"""What is plain HTTP on the port: a request's head, and the answer to it.

    bytes -> request (the head) -> head (taken apart) -> handshake: an Upgrade, a Refusal or a Page

Rule: nothing here knows who may come in, nor what a WebSocket is once it is open.
"""
