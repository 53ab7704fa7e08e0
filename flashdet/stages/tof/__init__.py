"""Time of flight: hits and their times, the time of the collision, hypotheses."""
