"""Tests of fws_pipe.adapters."""
