"""Runs: experiments from a file, the rows that survive them, and the engines that compute rows."""
