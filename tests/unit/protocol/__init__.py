"""Tests of fws_pipe.protocol."""
