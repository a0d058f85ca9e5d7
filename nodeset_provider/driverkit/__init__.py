"""The driver contract: what a driver author implements, and the only part of us that a driver may import.

Imports nothing of ours.
"""
