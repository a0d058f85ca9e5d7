"""One Machine from its creation to its end, in phases.

``launch`` → ``register`` → ``watch`` (until the Node is there) → ``initialize``; ``terminate`` once it is to go, also
because somebody deleted its Node (``node_end``). ``addresses`` are looked after beside a phase that waits.
Each phase is a pure ``decide(observed) -> action``; ``effects`` does what they say, ``controller`` runs them in order.
"""
