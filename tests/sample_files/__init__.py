"""Generators of the sample files, one module a domain."""
