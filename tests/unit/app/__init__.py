"""Tests of the commands, one file for each module of fws_pipe/cli."""
