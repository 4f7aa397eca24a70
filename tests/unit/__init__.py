"""Tests of single modules; the folders mirror fws_pipe's."""
