"""Tests of fws_pipe.storage."""
