//go:build mutant_read_uncommitted

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_read_uncommitted"
