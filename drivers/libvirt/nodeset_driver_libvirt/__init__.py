"""The libvirt driver: makes nodes of virtual machines under libvirt, local or remote.

Pure: ``config``, ``uri``, ``credentials``, ``sizes``, ``fragments``, ``identity``, ``domain_xml``, ``seed``,
``capacity``, ``console``, ``failures``. The rest talks to libvirt in threads of its own. Of nodeset-provider only the
driverkit is imported.
"""

from nodeset_driver_libvirt.driver import ACCELERATION_LABEL, LibvirtDriver, create_driver

__all__ = ["ACCELERATION_LABEL", "LibvirtDriver", "create_driver"]
