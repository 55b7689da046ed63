package files

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

// TestSignature holds signatures against the examples of Amazon's documentation of Signature Version 4 for S3.
func TestSignature(t *testing.T) {
	s := signer{accessKey: "AKIAIOSFODNN7EXAMPLE", secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region: "us-east-1"}
	at := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct{ method, url, body, header, want string }{
		{"GET", "/test.txt", "", "Range: bytes=0-9", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{"GET", "/?lifecycle", "", "", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"GET", "/?max-keys=2&prefix=J", "", "", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		r, err := http.NewRequest(c.method, "https://examplebucket.s3.amazonaws.com"+c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if name, value, ok := strings.Cut(c.header, ": "); ok {
			r.Header.Set(name, value)
		}
		s.sign(r, hexSum([]byte(c.body)), at)
		if got := r.Header.Get("Authorization"); !strings.HasSuffix(got, "Signature="+c.want) {
			t.Errorf("%s %s: %s, want the signature %s", c.method, c.url, got, c.want)
		}
	}
}

// TestForms: what a column's form puts into a file it takes out again, for any value that MySQL can have.
func TestForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		column, value := drawn(t)
		f := formOf(&column, Date)
		v, err := f.put(value)
		if err != nil {
			t.Fatalf("%s %v: %v", column.Type, value, err)
		}
		if got := f.take(v.Clone()); !got.Equal(value) {
			t.Fatalf("%s(%d,%d) %v comes back as %v", column.Type, column.Precision, column.Scale, value, got)
		}
	})
}

// drawn is a column of a type that needs thought, with a value as package change has it.
func drawn(t *rapid.T) (change.Column, change.Value) {
	digits := func(n int) string { return rapid.StringMatching(fmt.Sprintf("[0-9]{%d}", n)).Draw(t, "digits") }
	c := change.Column{Name: "c", Scale: rapid.IntRange(0, 6).Draw(t, "scale")}
	part := ""
	if c.Scale > 0 {
		part = "." + digits(c.Scale)
	}
	day := rapid.Int64Range(-719528, 2932896).Draw(t, "day") // 0000-01-01 to 9999-12-31
	date := formatDay(time.Unix(day*daySeconds, 0))
	clock := fmt.Sprintf(" %02d:%02d:%02d", rapid.IntRange(0, 23).Draw(t, "h"), rapid.IntRange(0, 59).Draw(t, "m"), rapid.IntRange(0, 59).Draw(t, "s"))
	switch rapid.IntRange(0, 6).Draw(t, "type") {
	case 0:
		c.Type, c.Precision = change.Decimal, rapid.IntRange(1, 65).Draw(t, "precision")
		c.Scale = rapid.IntRange(0, min(30, c.Precision)).Draw(t, "scale")
		whole := strings.TrimLeft(digits(c.Precision-c.Scale), "0")
		if whole == "" {
			whole = "0"
		}
		text := whole
		if c.Scale > 0 {
			text += "." + digits(c.Scale)
		}
		if strings.Trim(text, "0.") != "" && rapid.Bool().Draw(t, "negative") {
			text = "-" + text
		}
		return c, change.StringValue(text)
	case 1:
		c.Type = change.Date
		return c, change.StringValue(date)
	case 2:
		c.Type = change.DateTime
		return c, change.StringValue(date + clock + part)
	case 3:
		c.Type = change.Timestamp
		return c, change.StringValue(date + clock + part)
	case 4:
		c.Type = change.Time
		text := fmt.Sprintf("%02d%s%s", rapid.IntRange(0, 838).Draw(t, "hours"), clock[3:], part)
		if strings.Trim(text, "0:.") != "" && rapid.Bool().Draw(t, "negative") {
			text = "-" + text
		}
		return c, change.StringValue(text)
	case 5:
		c.Type, c.Length = change.Bit, rapid.IntRange(1, 64).Draw(t, "bits")
		bits := rapid.Uint64().Draw(t, "value") >> (64 - c.Length)
		b := make([]byte, (c.Length+7)/8)
		for i := range b {
			b[len(b)-1-i] = byte(bits >> (8 * i))
		}
		return c, change.RawValue(b)
	}
	c.Type, c.Unsigned = change.BigInt, true
	return c, change.UintValue(rapid.Uint64().Draw(t, "value"))
}

// TestBentValues: what a form cannot say is an error.
func TestBentValues(t *testing.T) {
	for _, c := range []struct {
		column change.Column
		value  string
	}{
		{change.Column{Type: change.Date}, "0000-00-00"},
		{change.Column{Type: change.Date}, "2024-00-10"},
		{change.Column{Type: change.Date}, "2023-02-30"},
		{change.Column{Type: change.DateTime}, "2024-03-00 00:00:00"},
		{change.Column{Type: change.Timestamp}, "0000-00-00 00:00:00"},
		{change.Column{Type: change.VarChar}, "\xff"},
		{change.Column{Type: change.Decimal, Precision: 5}, "x"},
	} {
		f := formOf(&c.column, Date)
		if v, err := f.put(change.StringValue(c.value)); err == nil {
			t.Errorf("%s %q becomes %v", c.column.Type, c.value, v)
		}
		if c.column.Type != change.VarChar && c.column.Type != change.Decimal {
			f = formOf(&c.column, Text)
			if v, err := f.put(change.StringValue(c.value)); err != nil || string(v.ByteArray()) != c.value {
				t.Errorf("as text %s %q is %v, %v", c.column.Type, c.value, v, err)
			}
		}
	}
}

// TestCurrent: the readers' rule leaves each offset in one file.
func TestCurrent(t *testing.T) {
	key := func(first, last int64) string {
		return fmt.Sprintf("table=a.b/day=2026-11-29/s.a.b.00.1-0-%019d-%019d.parquet", first, last)
	}
	found := []entry{{key: key(0, 9)}, {key: key(10, 19)}, {key: key(0, 19)}, {key: key(20, 29)}, {key: "table=a.b/day=2026-11-29/other.parquet"},
		{key: strings.ReplaceAll(key(10, 19), ".1-0-", ".1-1-")}}
	var got []string
	for _, e := range current(found) {
		got = append(got, e.key)
	}
	want := []string{key(0, 19), key(20, 29), strings.ReplaceAll(key(10, 19), ".1-0-", ".1-1-")}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("current is %q, want %q", got, want)
	}
}

// TestConfig: each mistake is named.
func TestConfig(t *testing.T) {
	good := Default()
	good.Path = "/data"
	bucket := Default()
	bucket.Path, bucket.S3.AccessKey, bucket.S3.SecretKey = "s3://b/p/q", "a", "s"
	for _, c := range []struct {
		base   Config
		change func(c *Config)
		want   string
	}{
		{good, func(*Config) {}, ""}, {bucket, func(*Config) {}, ""},
		{good, func(c *Config) { c.Path = "" }, "path"},
		{good, func(c *Config) { c.Path = "gs://b" }, "path"},
		{good, func(c *Config) { c.S3.AccessKey = "x" }, "s3"},
		{good, func(c *Config) { c.Dates = "x" }, "dates"},
		{good, func(c *Config) { c.RollSize = 1 }, "roll_size"},
		{good, func(c *Config) { c.RollTime = -1 }, "roll_time"},
		{good, func(c *Config) { c.CompactAfter = time.Minute }, "compact_after"},
		{good, func(c *Config) { c.KeepReplaced = 0 }, "keep_replaced"},
		{good, func(c *Config) { c.Retention = time.Hour }, "retention"},
		{good, func(c *Config) { c.Timeout = 0 }, "timeout"},
		{bucket, func(c *Config) { c.Path = "s3:///x" }, "path"},
		{bucket, func(c *Config) { c.S3.Endpoint = "localhost:9000" }, "s3.endpoint"},
		{bucket, func(c *Config) { c.S3.SecretKey = "" }, "s3.secret_key"},
		{bucket, func(c *Config) { c.S3.SecretKeyFile = "f" }, "s3.secret_key_file"},
		{bucket, func(c *Config) { c.S3.Region = "" }, "s3.region"},
	} {
		config := c.base
		c.change(&config)
		var paths []string
		config.Check(func(path, _ string) { paths = append(paths, path) })
		if got := strings.Join(paths, " "); got != c.want {
			t.Errorf("%+v: wrong are %q, want %q", config, got, c.want)
		}
	}
}

// TestOddNames: columns and tables of any name stand in files.
func TestOddNames(t *testing.T) {
	table := &change.Table{TableName: change.TableName{DB: "a/b", Name: "c=d %é"}, Key: []int{0}, Columns: []change.Column{
		{Name: "a,b", Type: change.Int}, {Name: "x.y", Type: change.Int}, {Name: "é \"'`", Type: change.Int}}}
	l, err := newLayout(table, Date)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	w := newWriter(&b, l.schema, 100, nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(strings.NewReader(b.String()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	columns := f.Root().Columns()
	if got := columns[l.after()+1].Name(); got != "after_x.y" || len(columns) != ownColumns+1+6 {
		t.Errorf("%d columns, one of them %q", len(columns), got)
	}
	if got := tableFolder(table.TableName); got != "table=a%2Fb.c%3Dd%20%25%C3%A9/" {
		t.Errorf("the folder is %q", got)
	}
}
