//go:build mutant_no_strike

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_no_strike"
