"""The import paths of filtered_websocket 0.4.1, for modules written for it; `fws-filter` and fws_server look here."""
