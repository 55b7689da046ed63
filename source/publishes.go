package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/shape"
)

// Encoder returns what writes the rows of a table: those that its rule lets out, and of them the columns that it does.
func (c *Config) Encoder(t *change.Table, topic string) (*avro.Encoder, error) {
	p, wrong := c.rulePublishes(t)
	if wrong != nil {
		return nil, wrong
	}
	if p == nil {
		return avro.NewEncoder(t, topic, c.Types)
	}
	x := &avro.Transform{Table: p.Table, From: p.From, Hide: p.Hide, Shaping: schema.Shaping{Where: p.Where(), Hidden: p.How}}
	if p.Where() != "" {
		x.Passes, x.Reads = p.Passes, p.Reads()
	}
	return avro.NewShapedEncoder(t, topic, c.Types, x)
}

// rulePublishes holds the table's rule against the table as it is; nil where all goes out as it is.
func (c *Config) rulePublishes(t *change.Table) (*shape.Published, *change.Problem) {
	rule := c.Rule(t.TableName)
	if rule == nil || rule.Where == "" && len(rule.Columns) == 0 {
		return nil, nil
	}
	p, err := shape.Publish(rule.Where, rule.Columns, rule.exact(), t)
	if err != nil {
		return nil, &change.Problem{Kind: change.Poison, Table: t.TableName, Where: t.String(), Err: err,
			What: "the rule for " + t.String() + " does not fit the table", Why: "what must not be in the topic could be",
			Mend: "mend the rule under tables in the source's page, start the source again, then: sluice crawl start " + t.String()}
	}
	return p, nil
}

// exact reports whether the rule names one table: then a column that is not there is a mistake. Of many tables, not all have it.
func (r *TableRule) exact() bool { return r.pattern == nil && !strings.ContainsAny(r.Match, `*?[\`) }

// fingerprint names what the rule lets out; empty where that is everything.
func (r *TableRule) fingerprint() string {
	if r.Where == "" && len(r.Columns) == 0 {
		return ""
	}
	secrets := make(map[string]string)
	for name, c := range r.Columns {
		if c.Hash != nil {
			secrets[name] = c.Hash.Fingerprint()
		}
	}
	text, err := json.Marshal([]any{r.Where, r.Columns, secrets}) // maps are written in the order of their keys
	if err != nil {
		panic(err) // texts and numbers
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
