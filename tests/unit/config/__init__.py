"""Tests of fws_pipe.config."""
