//go:build !faultpoints

package fault

// Enabled reports whether this build has fault points.
const Enabled = false

// Point marks a place. In this build it does nothing.
func Point(string) {}
