// Package config reads a YAML file into Go structs, strictly: defaults first, unknown keys refused with their line
// and the nearest known key, all problems reported at once.
//
// A command fills its config struct with defaults and calls [Load] with a pointer to it; more than one struct may
// share the top level of one file, each with keys of its own, so that a sink's runtime and its target read the
// same page. Fields are named by yaml tags, `yaml:",inline"` lifts a struct's fields up, `yaml:"-"` hides one.
//
// ${NAME} in a value (never in a key, a comment or the structure) is replaced by the environment variable NAME
// after the YAML is parsed, so a password may hold any character; ${NAME:-text} gives a default, $${ stands for
// ${ itself.
//
// Beyond the usual kinds a value may be a time.Duration ("10s", "7d"), or anything with UnmarshalText. A
// struct with UnmarshalText may be written as a plain value or as a mapping of its fields. A struct with
// Check(report) is asked after it was filled; what it reports gets the line of the key that it names.
package config
