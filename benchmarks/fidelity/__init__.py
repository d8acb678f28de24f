"""How true a task's surrogate is: held-out error, order near the front, and what search makes of its errors."""
