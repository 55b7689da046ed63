package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema"
)

// registerProblem gives a refused registration its kind, and names the change where the registry calls it
// incompatible.
//
// A conflict with nothing, or with the very same schema, is none: Apicurio answers so (409, "already exists") while it reads what it has
// stored after a start. It passes.
func (c *Client) registerProblem(ctx context.Context, subject, text string, err error) error {
	if status(err) != http.StatusConflict {
		return c.problem("register a schema of "+subject, err)
	}
	latest, _, latestErr := c.Latest(ctx, subject)
	if latestErr != nil || latest == "" || sameJSON(latest, text) {
		return &change.Problem{
			Kind: change.Retry, Where: c.url, Err: err, What: "schema registry: can't register a schema of " + subject,
			Why:  "it speaks of a conflict and shows none: it may be starting; it is tried again",
			Mend: "look at the registry's log if this stays",
		}
	}
	p := &change.Problem{
		Kind: change.Poison, Where: subject, Err: err,
		What: "the schema registry refuses the table's new schema as incompatible: " + changes(latest, text),
		Why:  "a reader of the new schema, or one that stayed with the old, could not read the topic's other records",
	}
	if parsed, parseErr := schema.Parse(text); parseErr == nil {
		p.Table = parsed.Table.TableName
		p.Mend = "sluice schema accept " + p.Table.String() + " (registers it once in spite of the compatibility level; tell the topic's readers first)"
	}
	return p
}

// sameJSON reports whether two texts say the same: a registry may write a schema in a form of its own.
func sameJSON(a, b string) bool {
	var parsed [2]any
	return json.Unmarshal([]byte(a), &parsed[0]) == nil && json.Unmarshal([]byte(b), &parsed[1]) == nil && reflect.DeepEqual(parsed[0], parsed[1])
}

// changes says what differs from the subject's latest schema.
func changes(oldText, text string) string {
	old, oldErr := schema.Parse(oldText)
	now, nowErr := schema.Parse(text)
	if oldErr != nil || nowErr != nil {
		return "the schema before it was not made by sluice-source"
	}
	if lines := schema.Differences(old.Table, now.Table); len(lines) > 0 {
		return strings.Join(lines, "; ")
	}
	if old.Options != now.Options {
		return fmt.Sprintf("the source's type settings changed from %+v to %+v", old.Options, now.Options)
	}
	return "no column changed since the latest version; an older one is in conflict"
}

// Accept registers a schema that the subject's compatibility level forbids: it sets the subject's level to NONE,
// registers, and gives the subject back the level it had. When the last step fails, the error says so and the schema
// is registered all the same.
func (c *Client) Accept(ctx context.Context, subject, text string) (int, error) {
	before, err := c.level(ctx, subject)
	if err != nil {
		return 0, err
	}
	if err := c.setLevel(ctx, subject, sr.CompatNone); err != nil {
		return 0, err
	}
	id, err := c.Register(ctx, subject, text)
	restore := context.WithoutCancel(ctx) // also when the caller gave up: NONE must not stay
	if restoreErr := c.setLevel(restore, subject, before); restoreErr != nil {
		return id, &change.Problem{
			Kind: change.Configuration, Where: subject, Err: restoreErr,
			What: "the subject's compatibility level is still NONE and could not be set back to " + levelName(before),
			Why:  "the registry would take any schema from now on",
			Mend: fmt.Sprintf("set the compatibility level of subject %s in the registry", subject),
		}
	}
	return id, err
}

// levelUnset stands for a subject without a level of its own.
const levelUnset sr.CompatibilityLevel = 0

func levelName(l sr.CompatibilityLevel) string {
	if l == levelUnset {
		return "the registry's default"
	}
	return l.String()
}

func (c *Client) level(ctx context.Context, subject string) (level sr.CompatibilityLevel, err error) {
	err = c.try(ctx, func() error {
		answer := c.sr.Compatibility(ctx, subject)[0]
		level = answer.Level
		return answer.Err
	})
	if status(err) == http.StatusNotFound {
		return levelUnset, nil
	}
	if err != nil {
		return levelUnset, c.problem("read the compatibility level of "+subject, err)
	}
	return level, nil
}

func (c *Client) setLevel(ctx context.Context, subject string, level sr.CompatibilityLevel) error {
	err := c.try(ctx, func() error {
		if level == levelUnset {
			return c.sr.ResetCompatibility(ctx, subject)[0].Err
		}
		return c.sr.SetCompatibility(ctx, sr.SetCompatibility{Level: level}, subject)[0].Err
	})
	if err != nil && !(level == levelUnset && status(err) == http.StatusNotFound) {
		return c.problem("set the compatibility level of "+subject, err)
	}
	return nil
}
