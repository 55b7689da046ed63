package mysql_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/mysql"
)

const goodUsers = "CREATE TABLE $DB.users (id BIGINT PRIMARY KEY, email VARCHAR(50) NOT NULL, seat INT, n INT NOT NULL, " +
	"_sluice_version BIGINT NOT NULL DEFAULT 0, _sluice_source SMALLINT UNSIGNED NOT NULL DEFAULT 0)"

// Each way in which a target's table is not what it must be is refused, with the statement that mends it.
func TestPrepareRefuses(t *testing.T) {
	byName := users("utf8mb4_bin")
	byName.Key = []int{1}
	tests := []struct {
		name   string
		ddl    string
		schema *change.Table
		what   string // in the error
		mend   string // in the statement
	}{
		{"no table", "", nil, "does not exist", "CREATE TABLE IF NOT EXISTS"},
		{"no columns", "CREATE TABLE $DB.users (id BIGINT PRIMARY KEY, email VARCHAR(50), n INT)", nil, "lacks columns",
			"ADD COLUMN `seat` INT NULL, ADD COLUMN `_sluice_version` BIGINT NOT NULL DEFAULT 0"},
		{"other key", strings.Replace(goodUsers, "id BIGINT PRIMARY KEY", "id BIGINT, x INT DEFAULT 1 PRIMARY KEY", 1), nil,
			"no primary key (id)", "ADD PRIMARY KEY (`id`)"},
		{"key of another collation", strings.Replace(goodUsers, "id BIGINT PRIMARY KEY, email VARCHAR(50) NOT NULL",
			"id BIGINT, email VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY", 1), byName,
			"utf8mb4_general_ci", "MODIFY COLUMN `email` VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"},
		{"key of another type", strings.Replace(goodUsers, "id BIGINT", "id VARCHAR(20)", 1), nil, "key column id", "MODIFY COLUMN `id` BIGINT"},
		{"unique key of its own", strings.Replace(goodUsers, "seat INT", "seat INT UNIQUE", 1), nil, "unique key seat", "unique: {shop.users: [seat]}"},
		{"unique key of another collation", strings.Replace(goodUsers, "NOT NULL, seat", "COLLATE utf8mb4_0900_ai_ci NOT NULL, UNIQUE KEY both_have (email), seat", 1), nil,
			"column email of the unique key both_have", "MODIFY COLUMN `email` VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL"},
		{"column without default", strings.Replace(goodUsers, "seat INT", "seat INT, extra INT NOT NULL", 1), nil, "column extra", "`extra` INT NULL"},
		{"engine", goodUsers + " ENGINE=MyISAM", nil, "engine MyISAM", "ENGINE=InnoDB"},
		{"trigger", goodUsers + "; CREATE TRIGGER $DB.tr BEFORE INSERT ON $DB.users FOR EACH ROW SET NEW.n = 0", nil, "triggers: tr", "DROP TRIGGER"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPlace(t, 1)
			p.config.CreateTables, p.config.Unique = false, map[string][]string{"shop.users": {"both_have"}}
			for _, statement := range strings.Split(test.ddl, "; ") {
				if statement != "" {
					p.in(statement)
				}
			}
			schema := test.schema
			if schema == nil {
				schema = users("utf8mb4_general_ci")
			}
			err := p.opened().Prepare(t.Context(), group, source, []*change.Table{schema})
			var problem *change.Problem
			if !errors.As(err, &problem) || problem.Kind != change.Poison || problem.Table != schema.TableName {
				t.Fatalf("got %v, want a poison of the table", err)
			}
			if text := change.Explain(err); !strings.Contains(text, test.what) || !strings.Contains(problem.Mend, test.mend) {
				t.Errorf("want %q, and the mend %q; got\n%s", test.what, test.mend, text)
			}
			findings, err := p.opened().Check(t.Context(), group, []*change.Table{schema})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range findings {
				if f.Level == sink.Wrong && strings.Contains(f.What+f.Why, test.what) {
					return
				}
			}
			t.Errorf("doctor does not say so: %+v", findings)
		})
	}
}

// The statement that an error names is the one that helps.
func TestMendsWork(t *testing.T) {
	p := newPlace(t, 1)
	p.config.CreateTables = false
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "a", 1, 1))
	tg := p.opened()
	mend := func() {
		t.Helper()
		var problem *change.Problem
		if err := tg.Prepare(t.Context(), group, source, []*change.Table{s.table}); !errors.As(err, &problem) {
			t.Fatalf("got %v", err)
		}
		statement, _, _ := strings.Cut(problem.Mend, ";")
		p.exec(statement)
	}
	mend()
	s.deliver(t, tg, 10)
	wider := *s.table
	wider.Columns = append(append([]change.Column(nil), s.table.Columns...), change.Column{Name: "more", Type: change.Int})
	s.table = &wider
	mend()
	s.write(nil, append(user(2, "b", 2, 2), number(7)))
	s.deliver(t, tg, 10)
	same(t, p.query(fmt.Sprintf("SELECT id,email,seat,n,more FROM %s.users ORDER BY id", p.shards[0].Database)), []string{"1|a|1|1|0", "2|b|2|2|7"})
	if findings, err := tg.Check(t.Context(), group, []*change.Table{s.table}); err != nil || len(findings) == 0 {
		t.Errorf("doctor: %v, %v", findings, err)
	} else {
		for _, f := range findings {
			if f.Level != sink.Good {
				t.Errorf("doctor: %+v", f)
			}
		}
	}
}

// Two processes that see a new table and then a new column at once do it once.
func TestExpandAtOnce(t *testing.T) {
	p := newPlace(t, 2)
	p.config.Routes = []route.Spec{{Table: "shop.users", By: "id", Rule: route.RuleSpec{Name: "hash"}}}
	for range 2 {
		schema := users("utf8mb4_general_ci")
		schema.Columns = append(schema.Columns, change.Column{Name: "c" + fmt.Sprint(len(p.query("SHOW DATABASES"))), Type: change.JSON})
		var wg sync.WaitGroup
		for range 4 {
			tg := p.opened()
			wg.Go(func() {
				if err := tg.Prepare(t.Context(), group, source, []*change.Table{schema}); err != nil {
					t.Error(change.Explain(err))
				}
			})
		}
		wg.Wait()
	}
}

// A table belongs to one group, one table of the source and one route; mysql.adopt says otherwise.
func TestOwnerOfTable(t *testing.T) {
	p := newPlace(t, 2)
	byID := []route.Spec{{Table: "*.users", By: "id", Rule: route.RuleSpec{Name: "modulus"}}}
	p.config.Routes = byID
	schema := []*change.Table{users("utf8mb4_general_ci")}
	if err := p.opened().Prepare(t.Context(), group, source, schema); err != nil {
		t.Fatal(change.Explain(err))
	}
	refused := func(what, group string, schema []*change.Table) {
		t.Helper()
		err := p.opened().Prepare(t.Context(), group, source, schema)
		if err == nil || change.SeverityOf(err) != change.Configuration {
			t.Errorf("%s: got %v, want a refusal", what, err)
		}
	}
	refused("another group", "other", schema)
	foreign := *schema[0]
	foreign.DB = "archive"
	refused("another table", group, []*change.Table{&foreign})
	p.config.Routes = []route.Spec{{Table: "*.users", By: "seat", Rule: route.RuleSpec{Name: "modulus"}}}
	refused("another route", group, schema)
	p.config.Adopt = true
	if err := p.opened().Prepare(t.Context(), "other", source, schema); err != nil {
		t.Error(change.Explain(err))
	}
	p.config.Adopt, p.config.Routes = false, byID
	refused("the group of before", group, schema)
}

// Columns that the target computes are left to it.
func TestGeneratedColumnsOfTheTarget(t *testing.T) { eachWay(t, generatedColumnsOfTheTarget) }

func generatedColumnsOfTheTarget(t *testing.T, way func(*place)) {
	p := newPlace(t, 1)
	way(p)
	p.in("CREATE TABLE $DB.users (id BIGINT PRIMARY KEY, email VARCHAR(50) NOT NULL, seat INT GENERATED ALWAYS AS (n * 2) STORED, n INT NOT NULL)")
	tg := p.opened()
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "a", 6, 3))
	s.deliver(t, tg, 10)
	same(t, scan(t, tg, sink.Scan{Source: source, Table: s.table}), []string{show(user(1, "a", 6, 3))})
}

func TestNewRefuses(t *testing.T) {
	one := []target.Shard{{Name: "s0", Database: "a"}}
	tests := []struct {
		config target.Config
		want   string
	}{
		{target.Config{}, "no shards"},
		{target.Config{Shards: []target.Shard{{Name: "s0"}}}, "no database"},
		{target.Config{Shards: []target.Shard{{Name: "s0", Database: "a"}, {Name: "s0", Database: "b"}}}, "is taken"},
		{target.Config{Shards: one, Mode: "replace"}, `mode "replace"`},
		{target.Config{Shards: one, Triggers: "yes"}, `triggers "yes"`},
		{target.Config{Shards: one, Routes: []route.Spec{{Table: "shop"}}}, "routes[0]: table"},
	}
	for _, test := range tests {
		_, err := target.New(test.config, sink.Setup{})
		if err == nil || change.SeverityOf(err) != change.Configuration || !strings.Contains(err.Error(), test.want) {
			t.Errorf("want %q, got %v", test.want, err)
		}
	}
}
