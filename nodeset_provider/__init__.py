"""nodeset-provider: a Kubernetes cluster that manages its own worker nodes, whatever they run on."""
