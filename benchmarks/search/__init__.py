"""Methods compared on many problems and seeds, with intervals."""
