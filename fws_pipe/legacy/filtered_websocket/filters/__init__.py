"""The filters of filtered_websocket: importing one adds it to the stage that imports it."""
