package redis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
)

// plan says how the rows of one table, in one shape of it, are kept.
type plan struct {
	config  *Table
	table   *change.Table
	topic   string
	key     *template // of what stands behind the name in a row's key; its parts are the key's columns, each once
	value   int       // of String: the column
	indexes []index
	columns []string // the names of what Scan returns
	shown   []int    // and where these stand in the table
}

// index is an Index with its columns found: -1 where there is none.
type index struct {
	*Index
	by, score, longitude, latitude int
}

// plan finds the columns that the config names.
func (c *Config) plan(source string, t *change.Table) (*plan, error) {
	p := &plan{config: c.table(t.TableName), table: t, topic: kafka.TopicName(source, t.TableName)}
	wrong := func(format string, args ...any) error {
		return &change.Problem{Kind: change.Poison, Table: t.TableName, Where: "redis.tables, match: " + p.config.Match,
			What: fmt.Sprintf(format, args...), Why: "its rows cannot be kept as the config says", Mend: "mend the config and start the sink again"}
	}
	if err := p.planKey(wrong); err != nil {
		return nil, err
	}
	column := func(name string, fits func(*change.Column) bool, want string) (int, error) {
		if name == "" {
			return -1, nil
		}
		at := t.Column(name)
		if at < 0 {
			return -1, wrong("%s has no column %s", t, name)
		}
		if !fits(&t.Columns[at]) {
			return -1, wrong("column %s of %s is of type %s; want %s", name, t, t.Columns[at].Type, want)
		}
		return at, nil
	}
	var err error
	if p.value, err = column(p.config.Value, anyColumn, ""); err != nil {
		return nil, err
	}
	for i := range t.Columns {
		if p.value < 0 || i == p.value || t.IsKey(i) {
			p.columns, p.shown = append(p.columns, t.Columns[i].Name), append(p.shown, i)
		}
	}
	for i := range p.config.Indexes {
		x := index{Index: &p.config.Indexes[i]}
		if x.by, err = column(x.By, anyColumn, ""); err == nil {
			x.score, err = column(x.Score, scored, "a number or a time")
		}
		if err == nil {
			x.longitude, err = column(x.Longitude, numeric, "a number")
		}
		if err == nil {
			x.latitude, err = column(x.Latitude, numeric, "a number")
		}
		if err != nil {
			return nil, err
		}
		p.indexes = append(p.indexes, x)
	}
	return p, nil
}

func anyColumn(*change.Column) bool { return true }

// planKey makes the key's template one of columns, and makes sure that all of the key's are in it: else two rows would have one key.
func (p *plan) planKey(wrong func(format string, args ...any) error) error {
	written, err := parseTemplate(p.config.key(), nil)
	if err != nil {
		return wrong("%v", err)
	}
	names := p.table.KeyNames()
	p.key = &template{literals: written.literals[:1:1]}
	for i, part := range written.parts {
		columns := []string{part}
		if part == "key" {
			columns = names
		}
		for j, name := range columns {
			at := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
			if at < 0 {
				return wrong("key %q: {%s} is no column of the key (%s): a key made of other columns would change with the row; an index finds rows by those",
					p.config.key(), name, strings.Join(names, ", "))
			}
			if slices.Contains(p.key.parts, names[at]) {
				return wrong("key %q: column %s is there twice", p.config.key(), names[at])
			}
			p.key.parts = append(p.key.parts, names[at])
			if j < len(columns)-1 {
				p.key.literals = append(p.key.literals, ":")
			}
		}
		p.key.literals = append(p.key.literals, written.literals[i+1])
	}
	if len(p.key.parts) != len(names) {
		return wrong("key %q lacks columns of the key (%s): two rows would have one key", p.config.key(), strings.Join(names, ", "))
	}
	return nil
}

// base returns what all keys of a slot of the table begin with.
func (c *Config) base(source string, t change.TableName, slot int) string {
	if c.Cluster {
		return tag(kafka.TopicName(source, t), slot)
	}
	name, err := parseTemplate(c.Name, nameParts)
	if err != nil {
		panic("a config that was not checked: " + err.Error())
	}
	values := map[string]string{"source": source, "db": t.DB, "table": t.Name}
	return name.fill(func(i int, dst []byte) []byte { return appendEscaped(dst, values[name.parts[i]]) })
}

// tag is the hash tag that puts all of a topic's slot into one slot of a cluster. A topic's name has no colon in it.
func tag(topic string, slot int) string {
	if slot == 0 {
		return "{" + topic + "}"
	}
	return "{" + topic + ":" + strconv.Itoa(slot) + "}"
}

// rowKey returns what stands behind the name in the key of the row with this key.
func (p *plan) rowKey(names []string, values []change.Value) (string, error) {
	var missing string
	key := p.key.fill(func(i int, dst []byte) []byte {
		at := slices.Index(names, p.key.parts[i])
		if at < 0 {
			missing = p.key.parts[i]
			return dst
		}
		return appendPart(dst, values[at])
	})
	if missing != "" {
		return "", fmt.Errorf("the record's key (%s) has no column %s", strings.Join(names, ", "), missing)
	}
	return key, nil
}

// slotOf returns the slot of the row with that key: CLUSTER KEYSLOT of what stands behind the tag, modulo the slots.
func (p *plan) slotOf(key string) int { return int(crc16(key)) % clusterSlots % p.config.slots() }

// clusterSlots is how many slots a Redis Cluster has.
const clusterSlots = 16384

// crc16 is CRC-16/XMODEM, as the cluster's specification has it. https://redis.io/docs/reference/cluster-spec/
func crc16(key string) uint16 {
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
