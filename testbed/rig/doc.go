// Package rig is what the demo and the tests of the whole system have in common: processes of our own programs that can be
// killed and started again, a shop with a writer that changes it in all the ways that matter, and comparisons of every row
// by content.
//
// It knows the programs only from outside: their command lines, config files and what they leave in the targets.
package rig
