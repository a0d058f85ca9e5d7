"""API server access: transport, informer, work queue, Lease election, events. Imports only ``api``."""
