package crawl

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
)

// note reads "3 running": the crawl of the table that was wanted at version 3, or of a part of it: "3 part done".
func note(d *Doubts, text string) {
	words := strings.Fields(text)
	d.Note(&Progress{
		ID: words[0], Started: change.Version(words[0][0] - '0'), State: words[len(words)-1], Sweep: !strings.Contains(text, "part"),
	})
}

func TestDoubts(t *testing.T) {
	for _, test := range []struct {
		name, records string
		want          bool
	}{
		{"none", "", false},
		{"wanted", "1 planning", true},
		{"at work", "1 planning, 1 running, 1 sweeping", true},
		{"done", "1 running, 1 done", false},
		{"two, one done", "1 running, 2 running, 1 done", true},
		{"the later one has looked at all that the earlier one would", "1 running, 2 running, 2 done", false},
		{"and the earlier one goes on", "1 running, 2 running, 2 done, 1 sweeping", false},
		{"cancelled: nobody has looked", "1 running, 1 cancelled", true},
		{"failed: nobody has looked", "1 running, 1 failed", true},
		{"cancelled, then done again", "1 running, 1 cancelled, 2 running, 2 done", false},
		{"cancelled, one that was at work before is done", "1 running, 2 running, 2 cancelled, 1 done", true},
		{"a part that is done says nothing of all", "1 running, 1 cancelled, 2 part running, 2 part done", true},
		{"a part alone", "1 part running, 1 part done", false},
		{"a part that is given up was not mended, as before it", "1 part running, 1 part cancelled", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var d Doubts
			for _, record := range strings.FieldsFunc(test.records, func(r rune) bool { return r == ',' }) {
				note(&d, record)
			}
			if d.Any() != test.want {
				t.Errorf("in doubt: %v, want %v", d.Any(), test.want)
			}
		})
	}
}

// A checkpoint has each crawl's last record only, in no order.
func TestDoubtsOfACheckpoint(t *testing.T) {
	records := []string{"1 cancelled", "2 failed", "3 done", "4 part cancelled", "5 running", "6 part done"}
	for last, want := range map[string]bool{"": true, "5 done": false, "5 cancelled": true} {
		for range 50 {
			var d Doubts
			for _, i := range rand.Perm(len(records)) {
				record := records[i]
				if record[0] == '5' && last != "" {
					record = last
				}
				note(&d, record)
			}
			if d.Any() != want {
				t.Fatalf("with %q in doubt: %v, want %v", last, d.Any(), want)
			}
		}
	}
}
