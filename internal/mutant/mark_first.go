//go:build mutant_mark_first

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_mark_first"
