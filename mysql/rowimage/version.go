package rowimage

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// WrittenBy tells the version of the server that wrote the event, as the binlog's FORMAT_DESCRIPTION event has
// it ("8.0.15-log"): older ones of MySQL describe some tables in another way. Without it a server of today is
// assumed. Call it once, before tm is shared.
func (tm *TableMap) WrittenBy(version string) {
	if tm.flavor == gtid.MariaDB {
		return
	}
	v := parseVersion(version)
	if v[0] == 0 {
		return // no version
	}
	before := func(patch int) bool { return slices.Compare(v[:], []int{8, 0, patch}) < 0 }
	switch {
	case before(16):
		tm.yearSign = yearUncounted
	case before(20):
		tm.yearSign = yearUnclear
	}
	if before(20) && !before(13) {
		tm.hideColumns()
	}
}

// parseVersion reads the first three numbers; what is not there is 0.
func parseVersion(version string) (parts [3]int) {
	for i, text := range strings.SplitN(version, ".", len(parts)) {
		digits := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
		if digits < 0 {
			digits = len(text)
		}
		parts[i], _ = strconv.Atoi(text[:digits])
	}
	return parts
}

// hideColumns finds the columns that the server adds to a table for the expressions of functional indexes.
// From 8.0.13 on there are such; 8.0.15 writes them into the binlog, between the other columns, 9.7.4 does
// not, nor does the source of 8.0.20. Their names are 32 hexadecimal digits.
func (tm *TableMap) hideColumns() {
	meta, err := parseMetadata(tm.optional, len(tm.wire))
	if err != nil || len(meta.names) != len(tm.wire) {
		return // Table says what is wrong
	}
	shown := make([]Wire, 0, len(tm.wire))
	for i := range tm.wire {
		if tm.wire[i].hidden = isDigest(meta.names[i]); !tm.wire[i].hidden {
			shown = append(shown, tm.wire[i])
		}
	}
	tm.Columns = shown
}

func isDigest(name string) bool {
	const digestLength = 32
	return len(name) == digestLength && strings.Trim(name, "0123456789abcdef") == ""
}
