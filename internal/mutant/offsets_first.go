//go:build mutant_offsets_first

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_offsets_first"
