// Package fleet names the synthetic groups and nodes that the servers answer for and the loop asks about.
package fleet

import "fmt"

// Fleet is how many groups and nodes there are; node n is in group n % Groups.
type Fleet struct {
	Groups int
	Nodes  int
}

// Group is the id of the i-th group.
func (Fleet) Group(i int) string { return fmt.Sprintf("group-%04d", i) }

// NodeName is the name of the n-th node.
func (f Fleet) NodeName(n int) string {
	return fmt.Sprintf("%s-%05d", f.Group(n%f.Groups), n)
}

// ProviderID is the provider id of the n-th node.
func (f Fleet) ProviderID(n int) string { return "synthetic://" + f.NodeName(n) }

// Size is the number of nodes in the i-th group.
func (f Fleet) Size(i int) int {
	size := f.Nodes / f.Groups
	if i < f.Nodes%f.Groups {
		size++
	}
	return size
}
