"""Who may have a kubelet's certificate: machines of ours, each its own Node's, once (docs/security.md, decision 013).

``request`` reads what is asked for, ``client`` and ``serving`` decide, ``controller`` does what was decided.
"""

from nodeset_provider.controllers.csr.controller import CertificateController, RequestCaches

__all__ = ["CertificateController", "RequestCaches"]
