"""The storages of filtered_websocket: modules with a class StorageObject. A user's own module may replace them."""
