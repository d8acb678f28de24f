"""The ways to compress, one file each."""
