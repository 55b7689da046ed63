//go:build mutant_progress_uncompared

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_progress_uncompared"
