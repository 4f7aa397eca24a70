"""Tests of fws_pipe.http."""
