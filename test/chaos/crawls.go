package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
)

// crawls starts crawls over the top at random, as an operator would, with the tool: of whole tables, of a condition, of keys; and
// ends some of them.
type crawls struct {
	run    *run
	random *rand.Rand
	asked  atomic.Int64
	failed atomic.Int64 // the tool said that it could not: a fault was in its way
}

// play asks for crawls until ctx ends.
func (c *crawls) play(ctx context.Context) {
	for pause(ctx, time.Duration(float64(c.run.settings.CrawlGap)*(0.3+1.4*c.random.Float64()))) {
		tables := tablesOf(c.run.settings.Source)
		t := tables[c.random.IntN(len(tables))]
		args := []string{"crawl", "start", database + "." + t.name}
		switch c.random.IntN(4) {
		case 0:
			args = append(args, "--where", fmt.Sprintf("%s %% %d = 0", t.key[0], 2+c.random.IntN(5)))
		case 1:
			args = append(args, "--keys", c.keys(t))
		}
		id := c.ask(ctx, args...)
		if id != "" && c.random.IntN(4) == 0 && pause(ctx, time.Duration(c.random.Int64N(int64(time.Second)))) {
			c.ask(ctx, "crawl", "cancel", id)
		}
	}
}

// keys are some of the table's, there or not.
func (c *crawls) keys(t table) string {
	var list []string
	for range 1 + c.random.IntN(20) {
		n := 1 + c.random.IntN(c.run.settings.size().many)
		if len(t.key) == 2 {
			list = append(list, fmt.Sprintf("[%d,%d]", n, c.random.IntN(3)))
		} else {
			list = append(list, fmt.Sprint(n))
		}
	}
	return "[" + strings.Join(list, ",") + "]"
}

// ask runs the tool and returns the crawl's id, if it began one.
func (c *crawls) ask(ctx context.Context, args ...string) (id string) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	c.asked.Add(1)
	code, out, errs, err := c.run.programs.command(ctx, "sluice", append(args, "--config", c.run.programs.sourceConfig)...)
	switch {
	case ctx.Err() != nil || code == 1:
		c.failed.Add(1)
		return ""
	case err != nil || code != 0:
		c.run.programs.find(fmt.Errorf("sluice %v: exit %d, %v: %s%s", args, code, err, out, errs))
		return ""
	}
	if words := strings.Fields(out); len(words) > 1 && words[0] == "crawl" {
		return words[1]
	}
	return ""
}
