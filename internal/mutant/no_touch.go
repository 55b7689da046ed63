//go:build mutant_no_touch

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_no_touch"
