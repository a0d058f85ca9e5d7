"""Every name that others see: API group, labels, annotations, taints, finalizers, conditions and reasons.

Nothing here does anything. A name that is read by a person, a kubelet, a cloud or the Cluster Autoscaler stands in
this file and nowhere else, so that renaming one is one change.
"""

from typing import Final

GROUP: Final = "nodeset.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

# --- labels on Machines and Nodes -----------------------------------------------------------------------------------
LABEL_NODESET: Final = "nodeset.dev/nodeset"
"""Name of the NodeSet that made this Machine; on the Node and in templates too:
NodePrice finds the group by it."""
LABEL_NODE_CLASS: Final = "nodeset.dev/node-class"
LABEL_TEMPLATE_HASH: Final = "nodeset.dev/template-hash"
LABEL_GPU: Final = "nodeset.dev/gpu"
"""Default of the Cluster Autoscaler's GPU label; its value is the GPU type."""

LABEL_ARCH: Final = "kubernetes.io/arch"
LABEL_OS: Final = "kubernetes.io/os"
LABEL_HOSTNAME: Final = "kubernetes.io/hostname"
LABEL_ARCH_BETA: Final = "beta.kubernetes.io/arch"
LABEL_OS_BETA: Final = "beta.kubernetes.io/os"
LABEL_INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"
LABEL_ZONE: Final = "topology.kubernetes.io/zone"
LABEL_REGION: Final = "topology.kubernetes.io/region"

# --- taints ---------------------------------------------------------------------------------------------------------
TAINT_UNREGISTERED: Final = "startup-taint.cluster-autoscaler.kubernetes.io/nodeset-unregistered"
"""NoExecute, set by the kubelet, taken away by us once the Node is complete. CA's own prefix for startup taints
(cluster-autoscaler/utils/taints/taints.go): such a node counts as still starting, not as missing."""
TAINT_UNREGISTERED_EFFECT: Final = "NoExecute"

TAINT_UNINITIALIZED: Final = "startup-taint.cluster-autoscaler.kubernetes.io/nodeset-uninitialized"
"""NoExecute, put on a Node that was made ahead of its machine, taken away once the machine has registered as it: no pod
is bound to a Node that nothing runs on."""

# --- Nodes made with kubectl ----------------------------------------------------------------------------------------
ANNOTATION_NODE_CLASS: Final = "nodeset.dev/node-class"
"""On a Node without a kubelet: please make a machine of this NodeClass for it."""
ANNOTATIONS_NODE_CLASS_LEGACY: Final = ("nodeset.k8s.io/node-class", "node.k8s.io/node-class")
"""kube-node's two spellings of it, accepted."""
LABEL_EXCLUDE_FROM_LOAD_BALANCERS: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
ANNOTATION_EXCLUDED: Final = "nodeset.dev/excluded-from-load-balancers"
"""On a Node made ahead of its machine: the exclude label is ours, and goes when the machine has registered."""
ANNOTATION_PLACEHOLDER: Final = "nodeset.dev/placeholder"
"""On a Machine: UID of the Node that it was made for. Such a Machine has no NodeSet."""
ANNOTATION_PLACEHOLDER_HASH: Final = "nodeset.dev/placeholder-hash"
"""On such a Machine: what that Node asked for; a Node that is made again and asks for the same is the same order."""
ANNOTATION_HANDED_OVER: Final = "nodeset.dev/handed-over"
"""On such a Machine: UID of the Node that is no longer waited for, because the kubelet makes its own."""
ANNOTATION_PLACEHOLDER_LOST: Final = "nodeset.dev/placeholder-lost"
"""On such a Machine: when its Node was first missing (RFC 3339), while it is open whether that cancels the machine."""

# --- finalizers -----------------------------------------------------------------------------------------------------
FINALIZER_MACHINE: Final = "nodeset.dev/machine"
"""On every Machine from its creation; goes only when the cloud has said that the machine is gone."""

FINALIZER_NODE: Final = "nodeset.dev/machine"
"""On every Node that a machine of ours registered as: ``kubectl delete node`` then takes the machine away first."""

# --- bootstrap tokens -----------------------------------------------------------------------------------------------
BOOTSTRAP_GROUP: Final = "system:bootstrappers:nodeset"
"""Every machine of ours is in it while it joins; bound to the ClusterRole system:node-bootstrapper."""
BOOTSTRAP_GROUP_MACHINE_PREFIX: Final = "system:bootstrappers:nodeset:"
"""Followed by the Machine's name: exactly one machine is in it (Kubernetes' bootstrap token groups, KEP-130)."""

# --- provider ids ---------------------------------------------------------------------------------------------------
PENDING_PROVIDER_ID_PREFIX: Final = "nodeset://pending/"
"""Instance id while no provider id is known: followed by the Machine's name, or by ``<nodeset>/<n>`` for the n-th
replica that is asked for and has no Machine yet."""

# --- Leases of providers --------------------------------------------------------------------------------------------
LABEL_PROVIDER: Final = "nodeset.dev/provider"
"""On the Lease of a provider's leader, with an empty value: by it the providers of a namespace find each other."""
ANNOTATION_DRIVERS: Final = "nodeset.dev/drivers"
"""On the same: the names of the drivers that it serves, with commas between them."""

# --- conditions -----------------------------------------------------------------------------------------------------
CONDITION_READY: Final = "Ready"
CONDITION_VALID: Final = "Valid"
CONDITION_LAUNCHED: Final = "Launched"
CONDITION_REGISTERED: Final = "Registered"
CONDITION_INITIALIZED: Final = "Initialized"
CONDITION_DELETED: Final = "Deleted"

REASON_REGISTRATION_TIMEOUT: Final = "RegistrationTimeout"
"""Of Registered=False: the machine was made and has not joined within its class's ``launchTimeoutSeconds``. The
controllers write it; the front door tells the autoscaler."""

REASON_DRIVER_NOT_SERVED: Final = "DriverNotServed"
"""Of Valid=Unknown: no process in the cluster serves the class's driver."""

CSR_SIGNER_CLIENT: Final = "kubernetes.io/kube-apiserver-client-kubelet"
"""A token opens one door once: the certificate of its own machine's Node."""
CSR_SIGNER_SERVING: Final = "kubernetes.io/kubelet-serving"
"""What a kubelet shows whoever asks it for logs: for the names and addresses of its own machine."""
