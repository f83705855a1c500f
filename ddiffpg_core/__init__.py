"""Learning: a diffusion policy trained from sparse rewards that keeps every way it finds.

Importing the package loads neither torch nor scipy; its modules load what they need.
"""
