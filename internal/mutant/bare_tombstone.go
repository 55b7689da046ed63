//go:build mutant_bare_tombstone

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_bare_tombstone"
