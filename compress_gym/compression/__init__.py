"""A strategy applied to a real torch model: channels removed, accuracy recovered, exported."""
