//go:build mutant_fence_late

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_fence_late"
