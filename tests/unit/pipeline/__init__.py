"""Tests of fws_pipe.pipeline."""
