//go:build mutant_create_first

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_create_first"
