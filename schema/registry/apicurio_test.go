package registry

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/testbed"
)

// TestApicurio does with a real registry of another make what TestRegisterAndRead and TestIncompatibleSchema do with
// the local one: its API is under a path, and some fields of Confluent's answers are missing.
func TestApicurio(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts a registry in Java")
	}
	r, err := testbed.StartRegistry(t.Context(), testbed.RegistryOptions{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Stop() })
	c, err := New(Options{URL: r.URL()})
	if err != nil {
		t.Fatal(err)
	}
	c.pauses = []time.Duration{time.Second, time.Second}
	ctx, subject := t.Context(), "p.shop.orders-value"
	if err := c.setLevel(ctx, subject, sr.CompatBackward); err != nil {
		t.Fatal(err)
	}
	id, err := c.Register(ctx, subject, valueText(t, orders()))
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.Schema(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := schema.Parse(text); err != nil || p.Table.TableName != orders().TableName {
		t.Errorf("read back: %+v, %v", p, err)
	}
	narrowed := valueText(t, orders(func(t *change.Table) { t.Columns[1].Type = change.Int }))
	_, err = c.Register(ctx, subject, narrowed)
	if change.SeverityOf(err) != change.Poison || !strings.Contains(change.Explain(err), "column total: bigint not null -> int not null") {
		t.Errorf("incompatible: %v", err)
	}
	accepted, err := c.Accept(ctx, subject, narrowed)
	if err != nil || accepted == id {
		t.Errorf("accept: %d, %v", accepted, err)
	}
	if level, err := c.level(ctx, subject); err != nil || level != sr.CompatBackward {
		t.Errorf("level after accept: %v, %v", level, err)
	}
	if _, err := c.Schema(ctx, 99_999); change.SeverityOf(err) != change.Poison {
		t.Errorf("unknown id: %v", err)
	}
}
