"""Tests of fws_pipe.pipes."""
