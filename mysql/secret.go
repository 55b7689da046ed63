package mysql

import "log/slog"

// Secret is a password. Every way of printing it gives stars; only Reveal gives the text.
type Secret string

const stars = "*****"

// Reveal returns the secret's text, for the one call that needs it.
func (s Secret) Reveal() string { return string(s) }

// String returns stars, or nothing for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return stars
}

// GoString returns stars, for %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalText returns stars, for JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns stars, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
