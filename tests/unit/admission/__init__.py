"""Tests of fws_pipe.admission."""
