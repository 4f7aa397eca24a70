"""Tests of the commands: real servers, chains and clients."""
