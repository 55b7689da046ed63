package testbed

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// debianKeyrings sign every Debian suite and are on every Debian machine; on
// others they come with the package debian-archive-keyring.
var debianKeyrings = []string{
	"/usr/share/keyrings/debian-archive-keyring.gpg",
	"/usr/share/keyrings/debian-archive-keyring.pgp",
}

// debianSuites are the names by which a machine's sources show that they name
// Debian's main archive, and not its security archive or another distribution.
var debianSuites = []string{
	"stable", "oldstable", "testing", "unstable", "sid",
	"bullseye", "bookworm", "trixie", "forky", "duke",
}

// aptSource is where Debian packages come from and which key signs them.
type aptSource struct {
	uri     string
	keyring string
}

// line is the source in the one-line format of sources.list.
func (s aptSource) line(suite string) string {
	options := ""
	if s.keyring != "" {
		options = "[signed-by=" + s.keyring + "] "
	}
	return "deb " + options + s.uri + " " + suite + " main\n"
}

// hostMirror is the Debian mirror that the machine itself uses, from both
// formats of apt sources, else the well-known one.
func hostMirror(etc string) aptSource {
	found := aptSource{uri: fallbackMirror}
	paths := []string{filepath.Join(etc, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		matches, _ := filepath.Glob(filepath.Join(etc, "sources.list.d", pattern)) // the patterns are well formed
		paths = append(paths, matches...)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // not there, or not for us to read: the next one
		}
		parse := parseOneLine
		if strings.HasSuffix(path, ".sources") {
			parse = parseDeb822
		}
		if source, ok := parse(string(content)); ok {
			found = source
			break
		}
	}
	for _, keyring := range debianKeyrings {
		if exists(keyring) {
			found.keyring = keyring
			break
		}
	}
	return found
}

// parseOneLine reads sources.list: "deb [options] uri suite component...".
func parseOneLine(content string) (aptSource, bool) {
	for line := range strings.Lines(content) {
		line, _, _ = strings.Cut(line, "#")
		options := ""
		if before, rest, ok := strings.Cut(line, "["); ok {
			var after string
			options, after, _ = strings.Cut(rest, "]")
			line = before + after
		}
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[0] != "deb" {
			continue
		}
		if !slices.Contains(debianSuites, fields[2]) || !slices.Contains(fields[3:], "main") {
			continue
		}
		source := aptSource{uri: fields[1]}
		for option := range strings.FieldsSeq(options) {
			if path, ok := strings.CutPrefix(option, "signed-by="); ok && filepath.IsAbs(path) {
				source.keyring = path
			}
		}
		return source, true
	}
	return aptSource{}, false
}

// parseDeb822 reads *.sources: stanzas of "Field: value" lines.
func parseDeb822(content string) (aptSource, bool) {
	for stanza := range strings.SplitSeq(content, "\n\n") {
		fields := map[string]string{}
		last := ""
		for line := range strings.Lines(stanza) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
				fields[last] += " " + strings.TrimSpace(line)
				continue
			}
			if name, value, ok := strings.Cut(line, ":"); ok {
				last = strings.ToLower(strings.TrimSpace(name))
				fields[last] = strings.TrimSpace(value)
			}
		}
		isDebian := slices.ContainsFunc(strings.Fields(fields["suites"]), func(suite string) bool {
			return slices.Contains(debianSuites, suite)
		})
		uris := strings.Fields(fields["uris"])
		disabled := strings.EqualFold(fields["enabled"], "no") || strings.EqualFold(fields["enabled"], "false")
		if !isDebian || disabled || len(uris) == 0 ||
			!slices.Contains(strings.Fields(fields["types"]), "deb") ||
			!slices.Contains(strings.Fields(fields["components"]), "main") {
			continue
		}
		source := aptSource{uri: uris[0]}
		if keyring := fields["signed-by"]; filepath.IsAbs(keyring) && !strings.Contains(keyring, " ") {
			source.keyring = keyring
		}
		return source, true
	}
	return aptSource{}, false
}
