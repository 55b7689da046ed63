//go:build mutant_delete_unversioned

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_delete_unversioned"
