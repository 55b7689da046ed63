package serve

import (
	"fmt"
	"io"
	"log/slog"
)

// LogConfig is the log block of every process's config.
type LogConfig struct {
	Level  slog.Level `yaml:"level"`  // debug, info, warn or error
	Format LogFormat  `yaml:"format"` // text or json
}

// LogFormat is how a line of the log is written.
type LogFormat string

// The formats of the log.
const (
	LogText LogFormat = "text" // key=value
	LogJSON LogFormat = "json" // an object a line
)

// UnmarshalText accepts the formats that there are.
func (f *LogFormat) UnmarshalText(text []byte) error {
	if *f = LogFormat(text); *f != LogText && *f != LogJSON {
		return fmt.Errorf("%q: want text or json", text)
	}
	return nil
}

// NewLogger returns a log that writes to w. The zero LogConfig is info and text.
func NewLogger(w io.Writer, c LogConfig) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == LogJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
