"""Tests of fws_pipe.chain."""
