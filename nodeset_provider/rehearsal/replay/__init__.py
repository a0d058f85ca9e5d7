"""Sends recorded sequences of the autoscaler to a provider and judges the answers by the rules of its contract."""
