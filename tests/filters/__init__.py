"""Tests of the shipped filters and of the contract that every filter keeps."""
