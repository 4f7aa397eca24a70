"""The options. Each is declared once, for its flag, environment variable, key in the config file, check and help.

    argv, environment, file -> options -> Config

Rule: values are checked here, with the parsers of the rooms that use them. Nothing here opens a connection.
"""
