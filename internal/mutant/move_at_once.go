//go:build mutant_move_at_once

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_move_at_once"
