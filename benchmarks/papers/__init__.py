"""Published tables beside what is measured here."""
