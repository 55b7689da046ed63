//go:build mutant_guard_without_key

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_guard_without_key"
