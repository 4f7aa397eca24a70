"""Servers that fws-pipe is compared with. Each file is a command that listens on a free port and says it on stderr."""
