"""The two processes that walk a plan, what they say to each other, and the seal of the one that becomes the container."""
