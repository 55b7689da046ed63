//go:build mutant_far_clock

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_far_clock"
