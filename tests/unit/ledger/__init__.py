"""Tests of fws_pipe.ledger."""
