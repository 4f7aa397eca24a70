"""Tests of fws_pipe.broker."""
