//go:build mutant_no_wait

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_no_wait"
