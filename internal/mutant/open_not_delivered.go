//go:build mutant_open_not_delivered

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_open_not_delivered"
