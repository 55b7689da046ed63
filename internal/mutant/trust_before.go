//go:build mutant_trust_before

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_trust_before"
