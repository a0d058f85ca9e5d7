"""The kinds of nodeset.dev/v1alpha1 and the projections of Kubernetes' own kinds that we read.

Imports nothing of ours. Types and names only: how they are stored is :mod:`nodeset_provider.kube`'s concern, what is
done with them the controllers'.
"""
