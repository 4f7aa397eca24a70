"""The filters of filtered_websocket: importing one adds it to the importing stage."""
