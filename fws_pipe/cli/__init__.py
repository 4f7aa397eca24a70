"""The commands, from argv and signals to an exit code.

    entry -> serve (fws-pipe, fws-front) or fws_server -> app
          -> fws_cat, fws_emit, fws_check, fws_test, fws_replay, fws_python (the other commands: other rooms)

Rule: a user's mistake ends here, as one line on stderr and a documented exit code. Nothing imports a command.
"""
