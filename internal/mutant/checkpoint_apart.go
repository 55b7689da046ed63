//go:build mutant_checkpoint_apart

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_checkpoint_apart"
