"""Tests of fws_pipe.clients."""
