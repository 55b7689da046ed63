//go:build mutant_txn_version

package mutant

// Tag names the mutant of this build.
const Tag = "mutant_txn_version"
