"""Tests of fws_pipe.front."""
