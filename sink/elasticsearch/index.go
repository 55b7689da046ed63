package elasticsearch

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// metaKey is where an index's mapping says, in its _meta, whose it is.
const metaKey = "sluice"

// fieldsLimit is the setting that bounds how many fields an index may have.
const fieldsLimit = "index.mapping.total_fields.limit"

// owner says what an index holds.
type owner struct {
	Source    string   `json:"source"`
	Database  string   `json:"database"`
	Table     string   `json:"table"`
	Key       []string `json:"key"`
	Documents string   `json:"documents"`
	Shape     string   `json:"shape,omitempty"` // see change.Table
}

func (c *Config) owner(source string, t *change.Table) owner {
	return owner{Source: source, Database: t.DB, Table: t.Name, Key: t.KeyNames(), Documents: c.Documents, Shape: t.Shape}
}

// sameTable reports whether both are of one table of one source, in whatever form.
func (o owner) sameTable(p owner) bool {
	return o.Source == p.Source && o.Database == p.Database && o.Table == p.Table
}

func (o owner) equal(p owner) bool {
	return o.sameTable(p) && slices.Equal(o.Key, p.Key) && o.Documents == p.Documents && o.Shape == p.Shape
}

// index is what stands behind an alias.
type index struct {
	name       string
	definition definition
	meta       map[string]any // the mapping's _meta, without Sluice's part
	owner      *owner         // nil: it does not say
	filtered   bool           // the alias hides tombstones
	limit      int            // of fields
}

// definition is an index as the server describes it.
type definition struct {
	Aliases  map[string]map[string]any `json:"aliases"`
	Mappings map[string]any            `json:"mappings"`
	Settings struct {
		Index map[string]any `json:"index"`
	} `json:"settings"`
}

// path returns the path of an index or alias.
func path(name string) string { return "/" + url.PathEscape(name) }

// look returns the index behind an alias, nil where there is no such alias.
func (t *Target) look(ctx context.Context, alias string) (*index, error) {
	var found map[string]definition
	err := t.client.do(ctx, "GET", path(alias), nil, &found)
	if hasStatus(err, http.StatusNotFound, "") {
		return nil, nil
	}
	if err != nil {
		return nil, t.client.judge("the index could not be looked at", err)
	}
	if _, ok := found[alias]; ok {
		return nil, &change.Problem{Kind: change.Poison, What: "there is an index named " + alias, Where: t.client.base,
			Why:  "the name has to be an alias: what people search must not show the markers of deleted rows",
			Mend: "delete or rename that index, or set another elasticsearch.index"}
	}
	name := ""
	for _, n := range slices.Sorted(maps.Keys(found)) {
		if len(found) == 1 || found[n].Aliases[alias]["is_write_index"] == true {
			name = n
		}
	}
	if name == "" {
		return nil, &change.Problem{Kind: change.Poison, What: fmt.Sprintf("the alias %s stands for %d indexes and none is the one to write to", alias, len(found)), Where: t.client.base,
			Mend: "set is_write_index for one of them: POST /_aliases"}
	}
	return describe(name, alias, found[name])
}

func describe(name, alias string, d definition) (*index, error) {
	x := &index{name: name, definition: d, meta: make(map[string]any), limit: fieldsDefault}
	maps.Copy(x.meta, inside(d.Mappings, "_meta"))
	if said, ok := x.meta[metaKey]; ok {
		delete(x.meta, metaKey)
		b, err := json.Marshal(said)
		if err == nil {
			err = json.Unmarshal(b, &x.owner)
		}
		if err != nil {
			return nil, &change.Problem{Kind: change.Poison, What: "the mapping of " + name + " has a _meta." + metaKey + " that is not ours", Err: err}
		}
	}
	x.filtered = strings.Contains(jsonText(d.Aliases[alias]["filter"]), fieldDeleted)
	total, _ := inside(inside(d.Settings.Index, "mapping"), "total_fields")["limit"].(string)
	if n, err := strconv.Atoi(total); err == nil {
		x.limit = n
	}
	return x, nil
}

// check refuses an index that holds something else.
func (x *index) check(want owner) error {
	if x.owner == nil || x.owner.equal(want) {
		return nil
	}
	have := *x.owner
	p := &change.Problem{Kind: change.Poison, Table: change.TableName{DB: want.Database, Name: want.Table}, Where: "index " + x.name}
	switch {
	case !have.sameTable(want):
		p.What = fmt.Sprintf("the index holds %s.%s of source %s, not %s.%s of source %s", have.Database, have.Table, have.Source, want.Database, want.Table, want.Source)
		p.Why = "rows of two tables would overwrite each other; versions of two sources cannot be compared"
		p.Mend = "set an elasticsearch.index that tells them apart ({source}, {db} and {table} stand for the parts, the whole is made lower case)"
	case !slices.Equal(have.Key, want.Key):
		p.What = fmt.Sprintf("the index's documents have the key (%s), the table has (%s)", strings.Join(have.Key, ", "), strings.Join(want.Key, ", "))
		p.Why = "the rows of before would stay beside those of now"
		p.Mend = "begin anew: sluice replay --to beginning --empty"
	case have.Shape != want.Shape:
		p.What = "the index's documents were written in another shape"
		p.Why = "half of the index would have other fields' values, and what should not be there would stay"
		p.Mend = "begin anew: sluice replay --to beginning --empty, or set another elasticsearch.index"
	default:
		p.What = fmt.Sprintf("the index's documents are %s, elasticsearch.documents is %s", have.Documents, want.Documents)
		p.Why = "half of the index would have another form"
		p.Mend = "begin anew: sluice replay --to beginning --empty, or set another elasticsearch.index"
	}
	return p
}

// step is a request that brings an index nearer to what it should be.
type step struct {
	method, path string
	body         map[string]any
}

func (s step) String() string { return s.method + " " + s.path + " " + jsonText(s.body) }

// steps returns what an index lacks. Nothing is taken away or changed.
func (t *Target) steps(alias string, x *index, want owner, table *change.Table) []step {
	var steps []step
	lacks := missing(t.config.properties(table), inside(x.definition.Mappings, "properties"))
	if n := countFields(inside(x.definition.Mappings, "properties")) + countFields(lacks); n > x.limit {
		steps = append(steps, step{"PUT", path(x.name) + "/_settings", map[string]any{fieldsLimit: 2 * n}})
	}
	mapping := make(map[string]any)
	if x.owner == nil {
		meta := map[string]any{metaKey: want}
		maps.Copy(meta, x.meta)
		mapping["_meta"] = meta
	}
	if len(lacks) > 0 {
		mapping["properties"] = lacks
	}
	if len(mapping) > 0 {
		steps = append(steps, step{"PUT", path(x.name) + "/_mapping", mapping})
	}
	if !x.filtered {
		add := aliasOf()
		add["index"], add["alias"] = x.name, alias
		steps = append(steps, step{"POST", "/_aliases", map[string]any{"actions": []any{map[string]any{"add": add}}}})
	}
	return steps
}
