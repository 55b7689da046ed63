//go:build mutant_replace

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_replace"
