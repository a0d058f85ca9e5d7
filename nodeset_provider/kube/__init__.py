"""API server access: client, informer, work queue, Lease election, events. Imports only ``api``.

Nothing in here decides anything about machines. ``credentials`` and ``transport`` know HTTP and TLS, ``codec`` and
``client`` the API's conventions, ``store`` and ``informer`` what is cached, ``workqueue`` and ``controller`` what is
worked on next, ``lease`` who does it, ``events`` and ``metrics`` what people see of it.
"""
