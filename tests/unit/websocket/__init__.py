"""Tests of fws_pipe.websocket."""
