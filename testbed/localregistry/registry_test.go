package localregistry

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"
)

const (
	schemaA = `{"type":"record","name":"t","fields":[{"name":"a","type":"long"}]}`
	// schemaAB adds a field without a default: it can not read what A wrote,
	// while A reads what it writes.
	schemaAB = `{"type":"record","name":"t","fields":[{"name":"a","type":"long"},{"name":"b","type":"string"}]}`
	// schemaABDefault reads A and is read by A.
	schemaABDefault = `{"type":"record","name":"t","fields":[{"name":"a","type":"long"},{"name":"b","type":["null","string"],"default":null}]}`
	// schemaEmpty reads all of them; none but those with defaults read it.
	schemaEmpty = `{"type":"record","name":"t","fields":[]}`
)

func start(t *testing.T, o Options) (*Registry, *sr.Client) {
	t.Helper()
	r, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	c, err := sr.NewClient(sr.URLs(r.URL()))
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func avroSchema(text string) sr.Schema { return sr.Schema{Schema: text} }

func register(t *testing.T, c *sr.Client, subject, text string) sr.SubjectSchema {
	t.Helper()
	registered, err := c.CreateSchema(t.Context(), subject, avroSchema(text))
	if err != nil {
		t.Fatalf("register under %s: %v", subject, err)
	}
	return registered
}

// wantCode checks Confluent's error code.
func wantCode(t *testing.T, err error, code int) {
	t.Helper()
	var response *sr.ResponseError
	if !errors.As(err, &response) || response.ErrorCode != code {
		t.Errorf("got %v, want error code %d", err, code)
	}
}

func TestRegisterAndFind(t *testing.T) {
	_, c := start(t, Options{})
	ctx := t.Context()
	first := register(t, c, "shop/t-value", schemaA)
	if first.Version != 1 || first.ID == 0 {
		t.Errorf("the first schema is version %d, id %d", first.Version, first.ID)
	}
	spaced := strings.ReplaceAll(schemaA, ",", " ,\n")
	if again := register(t, c, "shop/t-value", spaced); again.ID != first.ID || again.Version != 1 {
		t.Errorf("the same schema with white space became id %d, version %d", again.ID, again.Version)
	}
	if other := register(t, c, "u-value", schemaA); other.ID != first.ID {
		t.Errorf("the same schema of another subject has id %d, want %d", other.ID, first.ID)
	}
	second := register(t, c, "shop/t-value", schemaABDefault)
	if second.Version != 2 || second.ID == first.ID {
		t.Errorf("the second schema is version %d, id %d", second.Version, second.ID)
	}
	if got, err := c.SchemaByID(ctx, first.ID); err != nil || got.Schema != schemaA {
		t.Errorf("by id: %q, %v", got.Schema, err)
	}
	if got, err := c.SchemaTextByVersion(ctx, "shop/t-value", -1); err != nil || got != schemaABDefault {
		t.Errorf("the latest: %q, %v", got, err)
	}
	if got, err := c.Subjects(ctx); err != nil || !slices.Equal(got, []string{"shop/t-value", "u-value"}) {
		t.Errorf("subjects: %q, %v", got, err)
	}
	if got, err := c.SubjectVersions(ctx, "shop/t-value"); err != nil || !slices.Equal(got, []int{1, 2}) {
		t.Errorf("versions: %v, %v", got, err)
	}
	if got, err := c.LookupSchema(ctx, "shop/t-value", avroSchema(schemaA)); err != nil || got.Version != 1 {
		t.Errorf("lookup: %+v, %v", got, err)
	}
	if got, err := c.AllSchemas(ctx); err != nil || len(got) != 3 {
		t.Errorf("all: %+v, %v", got, err)
	}
	_, err := c.LookupSchema(ctx, "shop/t-value", avroSchema(schemaEmpty))
	wantCode(t, err, codeSchemaNotFound)
	_, err = c.SchemaByID(ctx, 4711)
	wantCode(t, err, codeSchemaNotFound)
	_, err = c.SchemaByVersion(ctx, "nobody", 1)
	wantCode(t, err, codeSubjectNotFound)
	_, err = c.SchemaByVersion(ctx, "u-value", 9)
	wantCode(t, err, codeVersionNotFound)
	_, err = c.RegisterSchema(ctx, "u-value", avroSchema(`{"type":"nonsense"}`), -1, -1)
	wantCode(t, err, codeInvalidSchema)
	_, err = c.RegisterSchema(ctx, "u-value", sr.Schema{Schema: "{}", Type: sr.TypeJSON}, -1, -1)
	wantCode(t, err, codeInvalidSchema)
}

// TestLevels registers the earlier schemas under NONE and then the last one
// under the level.
func TestLevels(t *testing.T) {
	_, c := start(t, Options{})
	for _, test := range []struct {
		level   string
		earlier []string
		next    string
		refused bool
	}{
		{"BACKWARD", []string{schemaA}, schemaAB, true},
		{"BACKWARD", []string{schemaA}, schemaABDefault, false},
		{"BACKWARD", []string{schemaAB}, schemaA, false},
		{"BACKWARD", []string{schemaEmpty, schemaA}, schemaAB, true},
		{"BACKWARD", []string{schemaEmpty, schemaAB}, schemaA, false},
		{"BACKWARD_TRANSITIVE", []string{schemaEmpty, schemaAB}, schemaA, true},
		{"FORWARD", []string{schemaA}, schemaAB, false},
		{"FORWARD", []string{schemaAB}, schemaA, true},
		{"FORWARD", []string{schemaAB, schemaEmpty}, schemaA, false},
		{"FORWARD_TRANSITIVE", []string{schemaAB, schemaEmpty}, schemaA, true},
		{"FULL", []string{schemaA}, schemaAB, true},
		{"FULL", []string{schemaAB}, schemaA, true},
		{"FULL", []string{schemaA}, schemaABDefault, false},
		{"FULL", []string{schemaEmpty, schemaA}, schemaABDefault, false},
		{"FULL_TRANSITIVE", []string{schemaEmpty, schemaA}, schemaABDefault, true},
		{"NONE", []string{schemaA}, `"string"`, false},
	} {
		subject := test.level + "-" + test.next + strings.Join(test.earlier, "")
		setLevel(t, c, "NONE", subject)
		for _, text := range test.earlier {
			register(t, c, subject, text)
		}
		setLevel(t, c, test.level, subject)
		checked, err := c.CheckCompatibility(sr.WithParams(t.Context(), sr.Verbose), subject, -2, avroSchema(test.next))
		if err != nil || checked.Is == test.refused || (len(checked.Messages) == 0) == test.refused {
			t.Errorf("%s: the check says %+v, %v", subject, checked, err)
		}
		_, err = c.RegisterSchema(t.Context(), subject, avroSchema(test.next), -1, -1)
		if !test.refused {
			if err != nil {
				t.Errorf("%s: %v", subject, err)
			}
			continue
		}
		wantCode(t, err, codeIncompatible)
		var response *sr.ResponseError
		if errors.As(err, &response) && response.StatusCode != http.StatusConflict {
			t.Errorf("%s: HTTP status %d, want 409", subject, response.StatusCode)
		}
	}
}

func setLevel(t *testing.T, c *sr.Client, text string, subjects ...string) {
	t.Helper()
	var parsed sr.CompatibilityLevel
	if err := parsed.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	for _, result := range c.SetCompatibility(t.Context(), sr.SetCompatibility{Level: parsed}, subjects...) {
		if result.Err != nil || result.Level != parsed {
			t.Fatalf("set %s to %s: %+v", result.Subject, text, result)
		}
	}
}

func levelOf(ctx context.Context, c *sr.Client, subject string) (string, error) {
	result := c.Compatibility(ctx, subject)[0]
	return result.Level.String(), result.Err
}

func TestConfig(t *testing.T) {
	_, c := start(t, Options{})
	if got, err := levelOf(t.Context(), c, ""); got != "BACKWARD" || err != nil {
		t.Errorf("the default is %s, %v", got, err)
	}
	_, err := levelOf(t.Context(), c, "t-value")
	wantCode(t, err, codeLevelNotConfigured)
	setLevel(t, c, "NONE")
	if got, err := levelOf(sr.WithParams(t.Context(), sr.DefaultToGlobal), c, "t-value"); got != "NONE" || err != nil {
		t.Errorf("a subject without its own level has %s, %v", got, err)
	}
	setLevel(t, c, "FULL", "t-value")
	if got, err := levelOf(t.Context(), c, "t-value"); got != "FULL" || err != nil {
		t.Errorf("its own level is %s, %v", got, err)
	}
	if result := c.ResetCompatibility(t.Context(), "t-value")[0]; result.Err != nil {
		t.Error(result.Err)
	}
	_, err = levelOf(t.Context(), c, "t-value")
	wantCode(t, err, codeLevelNotConfigured)
}

func TestDelete(t *testing.T) {
	_, c := start(t, Options{Compatibility: "NONE"})
	ctx := t.Context()
	first := register(t, c, "t", schemaA)
	register(t, c, "t", schemaAB)
	_, err := c.DeleteSubject(ctx, "t", sr.HardDelete)
	wantCode(t, err, codeSubjectNotSoftDeleted)
	if got, err := c.DeleteSubject(ctx, "t", sr.SoftDelete); err != nil || !slices.Equal(got, []int{1, 2}) {
		t.Errorf("soft delete: %v, %v", got, err)
	}
	_, err = c.DeleteSubject(ctx, "t", sr.SoftDelete)
	wantCode(t, err, codeSubjectSoftDeleted)
	_, err = c.SubjectVersions(ctx, "t")
	wantCode(t, err, codeSubjectNotFound)
	if _, err := c.SchemaByID(ctx, first.ID); err != nil {
		t.Errorf("records in Kafka still have the id of a soft-deleted schema: %v", err)
	}
	again := register(t, c, "t", schemaA)
	if again.ID != first.ID || again.Version != 3 {
		t.Errorf("registered again as id %d, version %d; want id %d, version 3", again.ID, again.Version, first.ID)
	}
	if err := c.DeleteSchema(ctx, "t", 3, sr.SoftDelete); err != nil {
		t.Error(err)
	}
	if got, err := c.DeleteSubject(ctx, "t", sr.HardDelete); err != nil || len(got) != 3 {
		t.Errorf("hard delete: %v, %v", got, err)
	}
	_, err = c.SchemaByID(ctx, first.ID)
	wantCode(t, err, codeSchemaNotFound)
	if fresh := register(t, c, "t", schemaA); fresh.Version != 1 || fresh.ID <= first.ID {
		t.Errorf("after a hard delete: id %d, version %d; want a new id, version 1", fresh.ID, fresh.Version)
	}
}

func TestSchemasSurviveRestart(t *testing.T) {
	dir := t.TempDir()
	r, c := start(t, Options{Dir: dir})
	first := register(t, c, "t", schemaA)
	setLevel(t, c, "FULL", "t")
	r.Close()
	_, c = start(t, Options{Dir: dir})
	if got, err := c.SchemaByID(t.Context(), first.ID); err != nil || got.Schema != schemaA {
		t.Errorf("after a restart: %q, %v", got.Schema, err)
	}
	if again := register(t, c, "t", schemaA); again.ID != first.ID || again.Version != 1 {
		t.Errorf("the same schema after a restart: %+v", again)
	}
	if got, err := levelOf(t.Context(), c, "t"); got != "FULL" || err != nil {
		t.Errorf("the subject's level after a restart: %s, %v", got, err)
	}
	if next := register(t, c, "t", schemaABDefault); next.ID == first.ID {
		t.Error("an id was given twice")
	}
}

func TestUnknownRequestsAreRefused(t *testing.T) {
	r, _ := start(t, Options{})
	response, err := http.Get(r.URL() + "/exporters")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("status %d, want 404", response.StatusCode)
	}
}
