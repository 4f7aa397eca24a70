"""The commands, from argv and signals to an exit code.

    entry -> serve (fws-pipe, fws-front) or fws_server -> app
          -> fws_cat, fws_emit, fws_python; fws-sink, fws-source and fws-filter are in other rooms

Rule: a user's mistake ends here, as one line on stderr and a documented exit code. Nothing imports a command.
"""
