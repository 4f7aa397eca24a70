"""The import paths of filtered_websocket 0.4.1: fws-filter and fws_server import modules that were written for it."""
