"""User-data as steps that a host takes by itself: ``cloud_config`` reads, ``plan`` orders, ``bundle`` packs. Pure."""
