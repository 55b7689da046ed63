//go:build !faultpoints

package fault

// Enabled reports whether this build has fault points.
const Enabled = false

// Point marks a place. In this build it does nothing.
func Point(string) {}

// Off reports whether a test leaves a rule out. In this build none is.
func Off(string) bool { return false }
