//go:build mutant_skip_unchecked

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_skip_unchecked"
