"""Tests of fws_pipe.sdk."""
