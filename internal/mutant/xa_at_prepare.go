//go:build mutant_xa_at_prepare

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_xa_at_prepare"
