"""The options: each declared once, for the flag, the environment variable, the config file, the check and the help.

    argv, environment, file -> options -> Config

Rule: what a value may be is checked here, with the parsers of the rooms that use it; nothing here opens a connection.
"""
