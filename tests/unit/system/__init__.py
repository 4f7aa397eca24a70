"""Tests of fws_pipe.system."""
