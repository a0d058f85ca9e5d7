"""Who may have a kubelet's certificate: machines of ours, each its own Node's, once (docs/security.md, decision 013).

``caches`` hold what is asked, ``request`` reads it, ``client`` and ``serving`` decide, ``controller`` does what they
decided.
"""

from nodeset_provider.controllers.csr.caches import RequestCaches
from nodeset_provider.controllers.csr.controller import CertificateController

__all__ = ["CertificateController", "RequestCaches"]
