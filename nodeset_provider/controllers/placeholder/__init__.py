"""Nodes made with kubectl: each gets a machine that joins as it (docs/nodes-with-kubectl.md, decision 014)."""
