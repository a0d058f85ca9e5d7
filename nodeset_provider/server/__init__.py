"""The process: composes gRPC front door, informers, controllers, probes and logs on one event loop.

:mod:`.compose` is the only place where the parts meet; everything else here serves it. May import everything.
"""
